"""A spectrogram of audio that passes by: as many columns for an hour as for a minute."""

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS = 0.032
MOST_ROWS = 512
MOST_COLUMNS = 1200  # twice as many at times: a picture has about 1500 pixels


class Spectrogram:
    """Power over time and frequency; where a column stands for several frames, their maximum.

    Args:
        sample_rate_hz: rate of the audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.seconds = 0.0
        window_samples = 1 << round(np.log2(max(32, sample_rate_hz * WINDOW_SECONDS)))
        self._hop = window_samples // 2
        window = np.hanning(window_samples + 1)[:-1]
        self._window = (window / (window.sum() / 2)).astype(np.float32)  # a full-scale sine is 0 dB
        self._bins_a_row = -(-self._hop // MOST_ROWS)
        self._rows = -(-self._hop // self._bins_a_row)
        self._frames_a_column = 1
        self._past: NDArray[np.float32] | None = None
        self._frames = np.zeros((0, self._rows), np.float32)  # not yet a whole column
        self._columns = np.zeros((0, self._rows), np.float32)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next (samples, channels)."""
        self.seconds += len(block) / self.sample_rate_hz
        if self._past is None:  # the first frame is centred on the first sample
            self._past = np.zeros((self._hop, block.shape[1]), np.float32)
        joined = np.concatenate([self._past, block])
        count = max(0, len(joined) // self._hop - 1)
        self._past = joined[count * self._hop :]
        if count:
            self._add_frames(self._powers(joined, count))

    def decibels(self) -> NDArray[np.float32]:
        """Levels (rows, columns) in dB, where a sine at full scale is 0; row 0 is the lowest."""
        parts = [self._columns]
        if len(self._frames):
            parts.append(self._frames.max(axis=0, keepdims=True))
        power = np.concatenate(parts)
        if not len(power):  # shorter than a frame
            power = np.zeros((1, self._rows), np.float32)
        levels: NDArray[np.float32] = 10 * np.log10(np.maximum(power.T, np.float32(1e-20)))
        return levels

    def _powers(self, joined: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Power of frames (count, rows), averaged over channels."""
        frames = np.lib.stride_tricks.sliding_window_view(joined, len(self._window), axis=0)
        spectra = np.fft.rfft(frames[:: self._hop][:count] * self._window)[..., 1:]
        power = np.mean(np.abs(spectra) ** 2, axis=1)
        surplus = self._rows * self._bins_a_row - self._hop
        padded = np.pad(power, ((0, 0), (0, surplus)))
        pooled: NDArray[np.float32] = padded.reshape(count, self._rows, -1).max(axis=2)
        return pooled.astype(np.float32, copy=False)

    def _add_frames(self, powers: NDArray[np.float32]) -> None:
        self._frames = np.concatenate([self._frames, powers])
        while len(self._frames) >= self._frames_a_column:
            room = 2 * MOST_COLUMNS - len(self._columns)
            count = min(room, len(self._frames) // self._frames_a_column)
            taken = self._frames[: count * self._frames_a_column]
            self._frames = self._frames[len(taken) :]
            self._columns = np.concatenate([self._columns, _merged(taken, self._frames_a_column)])
            if count == room:
                self._columns = _merged(self._columns, 2)
                self._frames_a_column *= 2


def _merged(rows: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """The maximum of every `group` rows."""
    merged: NDArray[np.float32] = rows.reshape(-1, group, rows.shape[1]).max(axis=1)
    return merged
