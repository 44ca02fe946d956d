"""A bounded queue of samples in one piece of memory: what does not fit pushes the oldest out."""

import numpy as np

from truenet.fifo import Samples


class Ring:
    """Mono samples, first in, first out.

    Args:
        capacity: the most samples that it holds.
    """

    def __init__(self, capacity: int) -> None:
        self._memory: Samples = np.zeros(capacity, np.float32)
        self._first = 0
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def put(self, block: Samples) -> int:
        """Append the block; the number of old samples that were lost to make room."""
        capacity = len(self._memory)
        lost = max(0, self._held + len(block) - capacity)
        kept = block[-capacity:]
        places = (
            self._first + self._held + len(block) - len(kept) + np.arange(len(kept))
        ) % capacity
        self._memory[places] = kept
        self._first = (self._first + lost) % capacity
        self._held = min(capacity, self._held + len(block))
        return lost

    def take(self, count: int) -> Samples:
        """Remove the oldest `count` samples (fewer if fewer are held)."""
        count = min(count, self._held)
        taken = self._memory[(self._first + np.arange(count)) % len(self._memory)]
        self._first = (self._first + count) % len(self._memory)
        self._held -= count
        return taken
