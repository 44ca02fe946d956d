"""Samples as callers have them: any number type in, float32 without poison out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from truenet.fifo import Samples

MOST_CHANNELS = 256
LOUDEST = 1e6  # 120 dB over full scale is no sound, and its square would overflow further on


def as_float(samples: NDArray[Any]) -> Samples:
    """Samples of any real type as float32, integers scaled so that their full range is ±1.

    Raises:
        ValueError: complex, boolean or other values that are no samples.
    """
    kind = samples.dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: a bad sample
            return samples.astype(np.float32, copy=False)
    if kind not in "iu":
        raise ValueError(f"samples of type {samples.dtype}: give floats within ±1, or integers")
    half = 2.0 ** (samples.dtype.itemsize * 8 - 1)
    centred = samples.astype(np.float64) - (half if kind == "u" else 0.0)
    return (centred / half).astype(np.float32)


def check_shape(samples: NDArray[Any]) -> None:
    """Accept (samples,) and (samples, channels).

    Raises:
        ValueError: another number of axes, or so many channels that the axes must be swapped.
    """
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"samples of shape {samples.shape}: give (samples,) or (samples, channels)"
        )
    if samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS:
        raise ValueError(
            f"samples of shape {samples.shape} have {samples.shape[1]} channels, "
            f"allowed are 1 to {MOST_CHANNELS}; channels come last, so transpose the array?"
        )


def as_columns(samples: NDArray[Any]) -> Samples:
    """Samples as float32 (samples, channels), mono as one channel; errors as of the two above."""
    check_shape(samples)
    columns = samples[:, np.newaxis] if samples.ndim == 1 else samples
    return as_float(columns)


class BadSamples:
    """Puts silence in place of NaN, infinite and absurdly large samples, and counts them.

    count: how many there were. first: position of the first one, (sample, channel), or None.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: tuple[int, int] | None = None
        self._seen_samples = 0

    def replace(self, block: Samples) -> Samples:
        """The block (samples, channels), bad samples set to zero; the caller's stays as it is."""
        bad = ~(np.abs(block) <= LOUDEST)  # NaN compares false
        if bad.any():
            self._note(bad)
            block = np.where(bad, np.float32(0), block)
        self._seen_samples += len(block)
        return block

    def _note(self, bad: NDArray[np.bool_]) -> None:
        if self.first is None:
            sample, channel = (int(index) for index in np.argwhere(bad)[0])
            self.first = (self._seen_samples + sample, channel)
        self.count += int(bad.sum())
