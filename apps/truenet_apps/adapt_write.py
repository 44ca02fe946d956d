"""The files of an adaptation: the adapter, and the weights that it makes of its base."""

import shutil
from pathlib import Path

from truenet.modelfile import ModelFile
from truenet.weights import save_weights
from truenet_apps.adapt_methods import write_adapter
from truenet_apps.adapt_run import Adaptation
from truenet_apps.adapter_model import write_model_file
from truenet_apps.merge import merged


def write_merged(
    adaptation: Adaptation, strength: float, base: Path, adapter: Path, target: Path
) -> None:
    """Write the best step so far: its adapter, and the weights that it gives.

    Args:
        adaptation: what was trained; takes the best step at this strength.
        strength: share of what was learned.
        base: the weights that were adapted.
        adapter: path of the .adapter file.
        target: path of the weights.
    """
    adaptation.take_best(strength)
    facts = {"adapted_to": adapter.stem, "method": adaptation.config.method}
    write_adapter(adaptation.training, adapter, facts | {"strength": f"{strength:g}"})
    model, merged_facts = merged(base, adapter)
    target.parent.mkdir(exist_ok=True)
    save_weights(model, target, merged_facts)


def trial_model(adaptation: Adaptation, strength: float, base: Path, folder: Path) -> ModelFile:
    """The model file of a strength as it would be written; nothing is left in `folder`."""
    own = folder / "trial"
    own.mkdir(parents=True, exist_ok=True)
    try:
        write_merged(adaptation, strength, base, own / "t.adapter", own / "t.safetensors")
        write_model_file(own / "t.safetensors", own / "t.onnx")
        return ModelFile(own / "t.onnx")
    finally:
        shutil.rmtree(own, ignore_errors=True)
