"""A spectrogram with as many columns for an hour as for a minute."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet_apps.spectrogram import MOST_COLUMNS, MOST_ROWS, Spectrogram

Noise = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize("rate_hz", [1000, 8000, 16_000, 48_000, 192_000])
def test_a_sine_at_full_scale_is_0_db_at_its_place(rate_hz: int) -> None:
    frequency_hz = rate_hz / 8
    time = np.arange(rate_hz) / rate_hz
    picture = Spectrogram(rate_hz)
    picture.add(np.sin(2 * np.pi * frequency_hz * time)[:, np.newaxis].astype(np.float32))
    levels = picture.decibels()[:, 3:-3]
    assert levels.max() == pytest.approx(0, abs=0.5)
    assert (np.median(levels.argmax(axis=0)) + 1) / len(levels) == pytest.approx(0.25, abs=0.02)
    assert len(levels) <= MOST_ROWS


@pytest.mark.parametrize("step", [100, 5000])
def test_cuts_do_not_matter(noise: Noise, step: int) -> None:
    audio = noise(20_000, 2)
    whole, parts = Spectrogram(16_000), Spectrogram(16_000)
    whole.add(audio)
    for start in range(0, len(audio), step):
        parts.add(audio[start : start + step])
    np.testing.assert_allclose(parts.decibels(), whole.decibels(), atol=1e-3)


def test_columns_stay_few_and_keep_what_was_loud(noise: Noise) -> None:
    picture = Spectrogram(1000)
    quiet = 1e-3 * noise(100_000, 1)
    quiet[20_000] = 1.0
    for _ in range(5):
        picture.add(quiet)
    levels = picture.decibels()
    assert MOST_COLUMNS <= levels.shape[1] < 2 * MOST_COLUMNS
    loud = np.flatnonzero(levels.mean(axis=0) > levels.mean() + 20)
    places = (np.arange(5) + 0.2) * levels.shape[1] / 5
    assert len(loud) >= 5
    assert max(np.abs(loud[:, np.newaxis] - places).min(axis=1)) < 3


def test_shorter_than_a_frame() -> None:
    picture = Spectrogram(16_000)
    assert picture.decibels().shape[1] == 1
    picture.add(np.ones((1, 1), np.float32))
    assert picture.decibels().shape[1] == 1
