"""The model with a way around it: too slow a machine hears itself unchanged instead of in pieces.

The way around is the input, as late as the model is; changes from one to the other are crossfaded. After a while the
model is tried again, after a longer while each time that it fails.
"""

import numpy as np

from truenet.enhancer import Enhancer
from truenet.fifo import SampleFifo, Samples

PATIENCE_FRAMES = 8  # that may be late one after the other: a stall is caught up with in fewer
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class GuardedEnhancer:
    """Frames of `hop_samples` through the model, or around it when they are late.

    Args:
        enhancer: with `whole_frames`.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        self.overloads = 0
        self._enhancer = enhancer
        self._delay = SampleFifo()
        self._delay.put(np.zeros(enhancer.latency_samples, np.float32))
        hop = enhancer.hop_samples
        self._frames_a_second = enhancer.sample_rate_hz / hop
        self._fade_in = np.linspace(0, 1, hop, dtype=np.float32)
        self._warm_up = enhancer.info.window_samples // hop
        self._late = 0
        self._pause = 0  # frames before the model is tried again
        self._warming = 0  # frames before it can be heard
        self._seconds = FIRST_PAUSE_SECONDS
        self._well = 0

    @property
    def bypassed(self) -> bool:
        """Whether the model is passed by."""
        return self._pause > 0

    def process(
        self, frame: Samples, late: bool, hopeless: bool = False
    ) -> tuple[Samples, Samples]:
        """Take (hop_samples,), return the input and the output of the same moment.

        Args:
            frame: the next samples.
            late: whether too many others wait already.
            hopeless: whether so many that there is no catching up.
        """
        self._delay.put(frame)
        before = self._delay.take(len(frame))
        if self._pause:
            self._pause -= 1
            self._warming = self._warm_up if not self._pause else 0
            return before, before
        after = self._enhancer.process(frame)
        self._late = self._late + 1 if late else 0
        if hopeless or self._late > PATIENCE_FRAMES:
            return before, self._give_up(before, after)
        self._recover()
        if self._warming:
            self._warming -= 1
            share = self._fade_in if not self._warming else np.float32(0)
            return before, before + share * (after - before)
        return before, after

    def _give_up(self, before: Samples, after: Samples) -> Samples:
        warmed = np.float32(0 if self._warming else 1)
        self.overloads += 1
        self._pause = round(self._seconds * self._frames_a_second)
        self._seconds = min(2 * self._seconds, LONGEST_PAUSE_SECONDS)
        self._late = self._warming = self._well = 0
        return before + warmed * (1 - self._fade_in) * (after - before)

    def _recover(self) -> None:
        self._well += 1
        if self._well > self._seconds * self._frames_a_second:
            self._seconds = FIRST_PAUSE_SECONDS
