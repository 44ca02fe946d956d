"""The model file: one ONNX graph with `audio`, `state` and `faders` in, `enhanced` and `next_state`
out.

Every constant (rates, lengths, latency) is read from the file's own metadata, so another model
needs no other code.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from truenet.fifo import Samples

HIGHEST_FORMAT = 1
SHIPPED_MODEL = Path(__file__).parent / "models" / "truenet.onnx"  # int8
INPUTS = {"audio", "state", "faders"}
OUTPUTS = ["enhanced", "next_state"]


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself. Lengths in samples at `sample_rate_hz`."""

    name: str
    version: str
    licence: str
    sample_rate_hz: int
    hop_samples: int
    window_samples: int
    latency_samples: int
    state_size: int
    precision: str
    training_data: str
    weights_sha256: str
    scores: dict[str, Any]


class ModelFile:
    """A model file ready to run: on one thread that sleeps between calls.

    `metadata` has every entry of the file as text, `info` those that a runner needs.

    Args:
        path: the .onnx file; None is the model that comes with truenet.

    Raises:
        ValueError: no such file, not a truenet model, damaged, or of a newer format.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = SHIPPED_MODEL if path is None else Path(path)
        if not self.path.is_file():
            raise ValueError(
                f"{self.path}: there is no such model file; give the path of an .onnx file"
            )
        self._session = open_session(self.path)
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.info = _read_info(self.path, self.metadata)
        _check_interface(self.path, self._session)

    def first_state(self, rows: int) -> Samples:
        """The state at the start of a stream, of shape (rows, state_size)."""
        return np.zeros((rows, self.info.state_size), np.float32)

    def run(
        self, audio: NDArray[np.float32], state: Samples, faders: NDArray[np.float32]
    ) -> tuple[Samples, Samples]:
        """One call of the graph.

        Args:
            audio: (rows, frames × hop_samples), nominally within ±1.
            state: (rows, state_size), what the call before returned.
            faders: (rows, 3), linear gains of voice, room and noise.

        Returns:
            The audio, `latency_samples` late and of the same shape, and the next state.
        """
        enhanced, next_state = self._session.run(
            OUTPUTS, {"audio": audio, "state": state, "faders": faders}
        )
        return enhanced, next_state


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX file on one thread of the processor, which sleeps between calls.

    Raises:
        ValueError: onnxruntime cannot read it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors are raised, and reported by us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base class
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot read this model file; it is "
            "damaged, not an ONNX file, or needs a newer onnxruntime "
            f"(pip install -U onnxruntime). {reason}"
        ) from error


def _read_info(path: Path, metadata: dict[str, str]) -> ModelInfo:
    if "truenet_format" not in metadata:
        raise ValueError(
            f"{path}: an ONNX file, but not a truenet model (it has no 'truenet_format'); "
            "make one with: truenet export"
        )
    try:
        number = int(metadata["truenet_format"])
        if number <= HIGHEST_FORMAT:
            return ModelInfo(
                **{field.name: _value(field, metadata) for field in dataclasses.fields(ModelInfo)}
            )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: its metadata is incomplete or damaged: {error!r}") from error
    raise ValueError(
        f"{path}: model format {number}, but this truenet reads formats up to {HIGHEST_FORMAT}; "
        "update it: pip install -U truenet"
    )


def _value(field: dataclasses.Field[Any], metadata: dict[str, str]) -> Any:
    text = metadata[field.name]
    if field.type is int:
        return int(text)
    return text if field.type is str else json.loads(text)


def _check_interface(path: Path, session: onnxruntime.InferenceSession) -> None:
    inputs = {value.name for value in session.get_inputs()}
    outputs = {value.name for value in session.get_outputs()}
    if inputs != INPUTS or not outputs.issuperset(OUTPUTS):
        raise ValueError(
            f"{path}: its inputs {sorted(inputs)} and outputs {sorted(outputs)} are not those of a "
            f"truenet model, {sorted(INPUTS)} and {OUTPUTS}"
        )
