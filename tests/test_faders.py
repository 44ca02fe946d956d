"""Decibels to gains."""

import math

import pytest

from truenet.faders import linear_gain


@pytest.mark.parametrize(
    ("level_db", "gain"), [(0.0, 1.0), (-math.inf, 0.0), (-20.0, 0.1), (20.0, 10.0)]
)
def test_gain(level_db: float, gain: float) -> None:
    assert linear_gain(level_db, "voice") == pytest.approx(gain)


@pytest.mark.parametrize("level_db", [math.nan, math.inf, 41.0])
def test_levels_that_are_none(level_db: float) -> None:
    with pytest.raises(ValueError, match=r"room fader at .*: give a level from -inf to 40 dB"):
        linear_gain(level_db, "room")
