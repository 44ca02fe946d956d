"""Two clocks, one queue: keeps the queue between microphone and output where it belongs.

The level is read at every output callback; the time since the last input callback counts as sound that is there, or
drift would hide behind the length of a block. Slow differences (the clocks) are corrected by resampling a few parts
in a million faster or slower, sudden ones (something was late) by a slip: skipping what is too much, crossfaded.
"""

from collections import deque

import numpy as np

from truenet.fifo import Samples

PERIOD_SECONDS = 0.25
LOW_PERCENTILE, HIGH_PERCENTILE = 10, 90  # rare stalls are not counted
GAPS_REMEMBERED = 256
DEAD_ZONE_SECONDS = 0.003  # of jitter, to which the pitch need not answer
SLIP_SECONDS = 0.012
SMOOTHING_PERIODS = 8  # a busy machine's jitter is no drift
STARTING_SECONDS = 3.0
TIME_SECONDS = 10.0  # in which a difference is made up for
MOST_CORRECTION = 500e-6  # under 1 cent; the clocks of devices differ by up to 200e-6
FADE_SECONDS = 0.005


class QueueRegulator:
    """From queue levels to corrections.

    Args:
        margin_seconds: the level to hold when a block of input is just about to come.
    """

    def __init__(self, margin_seconds: float) -> None:
        self.correction = 0.0
        self._margin_seconds = margin_seconds
        self._learned = self._excess = 0.0
        self._starting_seconds = STARTING_SECONDS
        self._gaps = deque([0.0], GAPS_REMEMBERED)
        self._levels: list[float] = []
        self._seconds = 0.0

    def arrive(self, gap_seconds: float) -> None:
        """Note the time between two input callbacks."""
        self._gaps.append(gap_seconds)

    def observe(self, level_seconds: float, passed_seconds: float) -> float:
        """Note the level after an output callback that took `passed_seconds` of sound.

        Args:
            level_seconds: sound in the queue, and since the last input callback.
            passed_seconds: time since the last observation.

        Returns:
            Seconds of sound to skip now, usually 0; below 0, of silence to put in.
        """
        self._levels.append(level_seconds)
        self._seconds += passed_seconds
        if self._seconds < PERIOD_SECONDS:
            return 0.0
        gap = float(np.percentile(self._gaps, HIGH_PERCENTILE))
        excess = float(np.percentile(self._levels, LOW_PERCENTILE)) - gap - self._margin_seconds
        seconds, self._seconds, self._levels = self._seconds, 0.0, []
        self._starting_seconds -= seconds
        if (
            self._starting_seconds > 0
        ):  # callbacks interleave anyhow, and nobody is used to a sound yet
            return excess if abs(excess) > DEAD_ZONE_SECONDS else 0.0
        if abs(excess) > SLIP_SECONDS:
            return excess
        self._excess += (excess - self._excess) / SMOOTHING_PERIODS
        size = max(0.0, abs(self._excess) - DEAD_ZONE_SECONDS)
        self._correct(float(np.sign(self._excess)) * size, seconds)
        return 0.0

    def _correct(self, excess: float, seconds: float) -> None:
        """Proportional and integral, critically damped."""
        learned = self._learned + excess * seconds / (4 * TIME_SECONDS**2)
        wanted = learned + excess / TIME_SECONDS
        self.correction = float(np.clip(wanted, -MOST_CORRECTION, MOST_CORRECTION))
        if wanted == self.correction:  # at the limit, what is learned would be too much
            self._learned = learned


class Slip:
    """Leaves samples out of a stream without a click.

    Args:
        sample_rate_hz: rate of the stream.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        fade = round(FADE_SECONDS * sample_rate_hz)
        self._fade_in = (np.sin(np.linspace(0, np.pi / 2, fade)) ** 2).astype(np.float32)
        self._waiting: Samples = np.zeros(0, np.float32)
        self._to_skip = 0
        self.skipped_samples = 0

    def skip(self, samples: int) -> None:
        """Leave out so many of the samples that come; while that goes on, more are not asked for."""
        if not self._to_skip:
            self._to_skip = max(0, samples)

    def process(self, block: Samples) -> Samples:
        """Take (samples,), return what is left of them."""
        if not self._to_skip:
            return block
        self._waiting = np.concatenate([self._waiting, block])
        fade, skipped = len(self._fade_in), self._to_skip
        if len(self._waiting) < skipped + fade:
            return self._waiting[:0]
        after = self._waiting[skipped:]
        mixed = self._waiting[:fade] * (1 - self._fade_in) + after[:fade] * self._fade_in
        self._waiting, self._to_skip = self._waiting[:0], 0
        self.skipped_samples += skipped
        return np.concatenate([mixed, after[fade:]])
