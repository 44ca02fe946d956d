"""`truenet info`: what a model is, costs and scored."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def info(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A .onnx model file, .safetensors weights or a .json config; the model in the package if left out."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's size, cost, latency and where it comes from."""
    suffix = ".onnx" if model is None else model.suffix
    if suffix == ".onnx":
        facts = _of_model_file(model)
    elif suffix in (".safetensors", ".json") and model is not None:
        facts = _of_network(model)
    else:
        raise ValueError(f"{model}: give a .onnx, .safetensors or .json file")
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else _table(facts))


def _of_model_file(path: Path | None) -> dict[str, Any]:
    import dataclasses

    from truenet.modelfile import ModelFile

    opened = ModelFile(path)
    return {
        "file": opened.path.name,
        "bytes": opened.path.stat().st_size,
        **dataclasses.asdict(opened.info),
        "latency_ms": 1000 * opened.info.latency_samples / opened.info.sample_rate_hz,
    }


def _of_network(path: Path) -> dict[str, Any]:
    from truenet.config import TrainingConfig, read_config
    from truenet.cost import count_macs_per_frame, count_parameters
    from truenet.grids import GRIDS
    from truenet.streaming import StreamingTRUNet
    from truenet.weights import load_weights

    origin: dict[str, str] = {}
    if path.suffix == ".json":
        model = StreamingTRUNet(read_config(TrainingConfig, path).model)
    else:
        model, origin = load_weights(path)
    parameters, macs = count_parameters(model), count_macs_per_frame(model.config)
    per_second = sum(macs.values()) * model.config.frames_per_second
    return {
        "file": path.name,
        "parameters": sum(parameters.values()),
        **{f"parameters of {block}": count for block, count in parameters.items()},
        "multiply-accumulates a frame": sum(macs.values()),
        **{f"multiply-accumulates of {block}": count for block, count in macs.items() if count},
        "multiply-accumulates a second": round(per_second),
        "latency_ms": 1000 * model.config.latency_samples / model.config.sample_rate_hz,
        "state_floats": model.state_size,
        **{key: value for key, value in origin.items() if key not in ("config", "format", GRIDS)},
    }


def _table(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {f'{value:,}' if isinstance(value, int) else value}"
        for name, value in facts.items()
    )
