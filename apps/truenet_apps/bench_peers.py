"""ONNX files of other speech enhancers, timed frame by frame beside ours: only how long the graphs take.

Each is fed noise. GTCRN and DTLN leave transforms to their caller, which are not counted.
"""

from pathlib import Path

import numpy as np

from truenet.peer_graphs import FrameGraph

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
        try:
            self.graphs = [FrameGraph(Path(path)) for path in paths.split(",")]
        except ValueError as error:
            raise ValueError(f"--peer {given}: {error}") from error
        generator = np.random.default_rng(0)
        self._noise = [0.1 * generator.standard_normal(one.signal_shape) for one in self.graphs]

    def run(self, frames: int) -> None:
        """Process so many frames, one after the other."""
        for _ in range(frames):
            for graph, noise in zip(self.graphs, self._noise, strict=True):
                graph(noise)
