"""`truenet merge`: weights and an adapter to weights, a model like any other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from truenet.streaming import StreamingTRUNet

_SCORES = ("pesq_wb", "stoi", "si_sdr_db")  # of the base: no longer true


def merge(
    weights: Annotated[Path, typer.Argument(help="The weights (.safetensors) it was trained on.")],
    adapter: Annotated[Path, typer.Argument(help="What `truenet adapt` wrote.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
) -> None:
    """Put an adapter into its base weights; `truenet export` makes the model file of the result."""
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: weights end in .safetensors")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; give --overwrite to replace it")
    from truenet.weights import save_weights

    model, facts = merged(weights, adapter)
    save_weights(model, target, facts)
    typer.echo(f"{target}: {target.stat().st_size:,} bytes", err=True)


def merged(weights: Path, adapter: Path) -> "tuple[StreamingTRUNet, dict[str, str]]":
    """The merged model in evaluation mode, and the facts of its base and of the adaptation.

    Raises:
        ValueError: no weights, no adapter, or one of other weights.
    """
    from truenet.weights import load_weights, weights_sha256
    from truenet_apps.adapt_methods import apply_adapter

    model, facts = load_weights(weights)
    adapted = apply_adapter(model, adapter)
    kept = {name: fact for name, fact in facts.items() if name not in _SCORES}
    return model.eval(), kept | {
        "adapted_from": weights_sha256(weights),
        "adapted_to": adapted.get("adapted_to", adapter.stem),
        "training_data": f"{facts.get('training_data', 'not stated')}; adapted to "
        f"{adapted.get('adapted_to', adapter.stem)}",
    }
