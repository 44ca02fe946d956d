"""The model file of an adapter: merged with the weights in the package once, then kept in the user's cache."""

import hashlib
import os
import tempfile
from pathlib import Path

from truenet import __version__
from truenet.extras import how_to_install
from truenet.modelfile import SHIPPED_MODEL

SHIPPED_WEIGHTS = SHIPPED_MODEL.with_name("truenet.safetensors")
SHIPPED_SMALL_WEIGHTS = SHIPPED_MODEL.with_name("truenet.int8.safetensors")


def write_model_file(weights: Path, target: Path) -> None:
    """Write the model file of weights: in whole numbers where they are kept as such, else in float."""
    from truenet.grids import GRIDS
    from truenet.weights import load_weights
    from truenet_export.int8 import export_int8
    from truenet_export.model_file import export

    if GRIDS in load_weights(weights)[1]:
        export_int8(weights, target)
    else:
        export(weights, target)


def model_of(adapter: Path) -> Path:
    """The model file of an adapter, made if this adapter was not used with this base before.

    Raises:
        ValueError: no adapter, one of other weights, no place to keep the model, or the training extra is missing.
    """
    try:
        contents = adapter.read_bytes()
    except OSError as error:
        raise ValueError(f"{adapter} cannot be read ({error.strerror})") from error
    bases = SHIPPED_WEIGHTS.read_bytes() + SHIPPED_SMALL_WEIGHTS.read_bytes()
    digest = hashlib.sha256(bases + contents + __version__.encode())
    path = cache_folder() / f"{adapter.stem}-{digest.hexdigest()[:24]}.onnx"
    if not path.is_file():
        _make(adapter, path)
    return path


def cache_folder() -> Path:
    """Where made model files are kept: $XDG_CACHE_HOME/truenet, else ~/.cache/truenet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "truenet"


def _make(adapter: Path, path: Path) -> None:
    ready = adapter.with_suffix(".onnx")
    try:
        from truenet.weights import save_weights
        from truenet_apps.merge import merged

        try:
            model, facts = merged(SHIPPED_WEIGHTS, adapter)
        except ValueError:
            model, facts = merged(SHIPPED_SMALL_WEIGHTS, adapter)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"to merge {adapter}, {error.name} is needed and not installed; {how_to_install('train')}. "
            f"Or use the model that `truenet adapt` wrote beside it, which needs nothing: --model {ready}"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # two may make it at once
            weights, made = Path(folder) / "merged.safetensors", Path(folder) / "merged.onnx"
            save_weights(model, weights, facts)
            write_model_file(weights, made)
            made.replace(path)
    except OSError as error:
        raise ValueError(
            f"no model can be kept in {path.parent} ({error.strerror}); set XDG_CACHE_HOME to a folder that can be "
            f"written, or use --model {ready}"
        ) from error
