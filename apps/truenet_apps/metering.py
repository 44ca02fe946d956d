"""Level and signal-to-noise ratio of audio that passes by, in constant memory."""

import math

import numpy as np
from numpy.typing import NDArray

FRAME_SECONDS = 0.02
FLOOR_PART = 0.1  # the quietest tenth of the frames is taken for the noise
LOWEST_DB, STEP_DB = -120.0, 0.25
HIGHEST_SNR_DB = 60.0


class LevelMeter:
    """Root-mean-square level, and an estimate of the SNR from how quiet the pauses are.

    Args:
        sample_rate_hz: rate of the audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._frame_samples = max(1, round(sample_rate_hz * FRAME_SECONDS))
        self._power_sum = 0.0
        self._samples = 0
        self._left_over: NDArray[np.float64] = np.zeros(0)
        self._histogram = np.zeros(round(-2 * LOWEST_DB / STEP_DB), np.int64)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next (samples, channels)."""
        power = np.mean(np.square(block, dtype=np.float64), axis=1)
        self._power_sum += float(power.sum())
        self._samples += len(power)
        joined = np.concatenate([self._left_over, power])
        whole = len(joined) // self._frame_samples * self._frame_samples
        self._left_over = joined[whole:]
        frames = joined[:whole].reshape(-1, self._frame_samples).mean(axis=1)
        places = (10 * np.log10(np.maximum(frames, 1e-30)) - LOWEST_DB) / STEP_DB
        inside = np.clip(places.astype(np.int64), 0, len(self._histogram) - 1)
        self._histogram += np.bincount(inside, minlength=len(self._histogram))

    @property
    def seconds(self) -> float:
        """Length of everything so far."""
        return self._samples / self._sample_rate_hz

    @property
    def level_dbfs(self) -> float:
        """Level of everything so far, 0 for a square wave at full scale; −inf for silence."""
        if not self._power_sum:
            return -math.inf
        return 10 * math.log10(self._power_sum / self._samples)

    @property
    def snr_db(self) -> float | None:
        """How far the sound stands above the quietest tenth of it, up to 60 dB; None for silence.

        Honest for speech with pauses in steady noise, and no more than an estimate.
        """
        frames = int(self._histogram.sum())
        if not frames or not self._power_sum:
            return None
        place = int(np.searchsorted(np.cumsum(self._histogram), FLOOR_PART * frames))
        floor = 10 ** ((LOWEST_DB + place * STEP_DB) / 10)
        above = max(self._power_sum / self._samples - floor, floor * 1e-3)
        return min(HIGHEST_SNR_DB, 10 * math.log10(above / floor))
