"""A queue of samples: put blocks of any length in, take any number out."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class SampleFifo:
    """First in, first out along axis 0; the other axes are fixed by `shape`."""

    def __init__(self, *shape: int) -> None:
        self._held: Samples = np.zeros((0, *shape), np.float32)

    def __len__(self) -> int:
        return len(self._held)

    def put(self, block: Samples) -> None:
        self._held = np.concatenate([self._held, block])

    def take(self, count: int) -> Samples:
        """Remove and return the oldest `count` samples (fewer if fewer are held)."""
        taken, self._held = self._held[:count], self._held[count:]
        return taken
