"""Resampling for live use: a constant delay, blocks that do not show, no aliases, and a ratio that may change."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet_apps.live_resampler import Resampler

Noise = Callable[..., NDArray[np.float32]]
RATES = [
    (48_000, 16_000),
    (16_000, 48_000),
    (44_100, 16_000),
    (16_000, 44_100),
    (8000, 16_000),
    (96_000, 16_000),
]


def sine(rate_hz: int, frequency_hz: float, seconds: float = 0.5) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(
        np.float32
    )


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_a_tone_comes_out_late_by_the_stated_delay(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    found = resampler.process(sine(from_hz, 997))
    time = np.arange(len(found)) / to_hz - resampler.delay_seconds
    settled = time > 3 * resampler.delay_seconds
    error = found[settled] - np.sin(2 * np.pi * 997 * time[settled])
    assert 10 * np.log10(np.mean(np.square(error))) < -100
    assert resampler.position == pytest.approx(len(found) * from_hz / to_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), [*RATES, (16_000, 16_000)])
@pytest.mark.parametrize("block", [1, 7, 128, 1000])
def test_blocks_do_not_show(noise: Noise, from_hz: int, to_hz: int, block: int) -> None:
    samples = noise(2000)
    whole = Resampler(from_hz, to_hz).process(samples)
    cut = Resampler(from_hz, to_hz)
    pieces = [cut.process(samples[start : start + block]) for start in range(0, 2000, block)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_equal_rates_change_nothing(noise: Noise) -> None:
    samples = noise(1000)
    found = Resampler(16_000, 16_000).process(samples)
    np.testing.assert_allclose(found[32:], samples[:-32], atol=1e-6)


def test_what_16_khz_cannot_hold_does_not_fold_back() -> None:
    found = Resampler(48_000, 16_000).process(sine(48_000, 9000))
    assert np.abs(found[200:]).max() < 1e-3


def test_a_correction_takes_more_of_the_input(noise: Noise) -> None:
    resampler = Resampler(16_000, 16_000)
    resampler.correction = 1e-3
    found = resampler.process(noise(16_000))
    assert resampler.position == pytest.approx(len(found) * 1.001)
