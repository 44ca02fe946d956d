"""Sample rate conversion for live use: a delay that never changes, and a ratio that may.

A windowed sinc, tabulated at many phases (Smith, "Digital Audio Resampling", CCRMA): one filter serves every device
rate and follows the drift between two clocks. soxr is better for files, but delivers in bursts.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from truenet.fifo import Samples

ZERO_CROSSINGS = 32  # on each side, at the lower rate: 2 ms at 16 kHz
KAISER_BETA = 8.0  # 80 dB
PASS_BAND = 0.92  # of the lower rate's band, so that the stop band begins where aliases do
PHASES = 512  # read with linear interpolation: errors below -100 dB


class Resampler:
    """Mono from one rate to another, block by block: the blocks do not show in the result.

    With equal rates and no correction every sample comes out as it went in.

    Args:
        from_hz, to_hz: the rates.
    """

    def __init__(self, from_hz: float, to_hz: float) -> None:
        self.correction = 0.0  # 1e-6 takes a millionth more input for the same output
        self._step = from_hz / to_hz
        lower = min(1.0, to_hz / from_hz)
        band = lower if from_hz == to_hz else lower * PASS_BAND
        self._half = round(ZERO_CROSSINGS / lower)
        self._table = _filters(self._half, band)
        self._held: Samples = np.zeros(2 * self._half - 1, np.float32)
        self._next = self._half - 1.0  # place of the next output among the samples held
        self._forgotten = 0
        self.delay_seconds = self._half / from_hz

    @property
    def position(self) -> float:
        """Input samples that the output so far accounts for, the constant delay left aside."""
        return self._forgotten + self._next - (self._half - 1)

    def process(self, block: Samples) -> Samples:
        """Take the next (samples,), return those of the output that are due."""
        self._held = np.concatenate([self._held, block])
        step = self._step * (1.0 + self.correction)
        count = max(0, int(np.ceil((len(self._held) - self._half - self._next) / step)))
        if not count:
            return self._held[:0]
        places = self._next + step * np.arange(count)
        before = places.astype(np.int64)
        inside = before + self._half < len(self._held)  # rounding may have counted one too many
        places, before = places[inside], before[inside]
        windows = sliding_window_view(self._held, 2 * self._half)[before - self._half + 1]
        output: Samples = (windows * self._filters_at(places - before)).sum(axis=1)
        self._forget(self._next + step * len(places))
        return output

    def _filters_at(self, phases: NDArray[np.floating]) -> Samples:
        row = phases * PHASES
        first = row.astype(np.int64)
        part = (row - first).astype(np.float32)[:, np.newaxis]
        filters: Samples = self._table[first] * (1 - part) + self._table[first + 1] * part
        return filters

    def _forget(self, place: float) -> None:
        used = int(place) - self._half + 1
        self._held = self._held[used:]
        self._forgotten += used
        self._next = place - used


def _filters(half: int, band: float) -> Samples:
    """One row a phase: the filter whose middle lies that far after sample `half` − 1."""
    phases = np.arange(PHASES + 1)[:, np.newaxis] / PHASES
    distance = np.arange(2 * half) - (half - 1) - phases
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
    rows = band * np.sinc(band * distance) * window / np.i0(KAISER_BETA)
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
