"""ONNX files of other speech enhancers, timed frame by frame beside ours: only how long the graphs take.

Each is fed noise, and every output after the first goes back into the input that it belongs to. GTCRN and DTLN
leave transforms to their caller, which are not counted.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from truenet.modelfile import open_session

FRAME_MS = {"gtcrn": 16.0, "dtln": 8.0, "fastenhancer": 16.0}
"""What a call of each known peer processes."""


class PeerGraphs:
    """A peer's graphs, a frame a call.

    Args:
        given: "name=path", for graphs that are run one after the other "name=path,path".

    Raises:
        ValueError: an unknown name, no such file, or inputs that are not a signal and states.
    """

    def __init__(self, given: str) -> None:
        self.name, _, paths = given.partition("=")
        if self.name not in FRAME_MS or not paths:
            raise ValueError(
                f"--peer {given}: give NAME=FILE.onnx with a name of {', '.join(FRAME_MS)} "
                "(dtln=model_1.onnx,model_2.onnx)"
            )
        self.frame_ms = FRAME_MS[self.name]
        self._graphs = [_Graph(Path(path)) for path in paths.split(",")]

    def run(self, frames: int) -> None:
        """Process so many frames, one after the other."""
        for _ in range(frames):
            for graph in self._graphs:
                graph.step()


class _Graph:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"--peer: there is no file {path}")
        self._session = open_session(path)
        signal, *states = self._session.get_inputs()
        noise = np.random.default_rng(0).standard_normal(_shape(path, signal))
        self._feeds: dict[str, NDArray[Any]] = {signal.name: (0.1 * noise).astype(np.float32)}
        self._feeds |= {state.name: np.zeros(_shape(path, state), np.float32) for state in states}
        outputs = self._session.get_outputs()
        if len(outputs) != 1 + len(states):
            raise ValueError(f"--peer: {path} has {len(outputs)} outputs for {len(states)} states")
        self._states = [state.name for state in states]

    def step(self) -> None:
        _, *states = self._session.run(None, self._feeds)
        self._feeds.update(zip(self._states, states, strict=True))


def _shape(path: Path, value: onnxruntime.NodeArg) -> list[int]:
    if value.type != "tensor(float)" or not all(isinstance(size, int) for size in value.shape):
        raise ValueError(f"--peer: input {value.name} of {path} is no float array of fixed shape")
    return list(value.shape)
