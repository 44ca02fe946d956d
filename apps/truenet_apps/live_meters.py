"""Levels of what goes in and what comes out, as meters show them."""

import math

import numpy as np

from truenet.fifo import Samples

SMOOTHING_SECONDS = 0.3
SILENCE_DB = -90.0


class Meters:
    """Power of input and output over the last moments.

    Args:
        sample_rate_hz: of both.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._input = self._output = 0.0

    def add(self, before: Samples, after: Samples) -> None:
        """Take the same moment of input and output, (samples,) each."""
        share = 1 - math.exp(-len(before) / (SMOOTHING_SECONDS * self._sample_rate_hz))
        self._input += share * (float(np.mean(np.square(before))) - self._input)
        self._output += share * (float(np.mean(np.square(after))) - self._output)

    @property
    def input_db(self) -> float:
        """Level of the input in dB of full scale; −90 for silence."""
        return _decibels(self._input)

    @property
    def output_db(self) -> float:
        """Level of the output."""
        return _decibels(self._output)

    @property
    def removed_db(self) -> float:
        """By how much the output is below the input; never negative."""
        return max(0.0, self.input_db - self.output_db)


def _decibels(power: float) -> float:
    return max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB
