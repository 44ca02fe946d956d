"""Level and SNR of audio that passes by."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet_apps.metering import LevelMeter

Noise = Callable[..., NDArray[np.float32]]


def measure(audio: NDArray[np.float32], step: int = 1000) -> LevelMeter:
    meter = LevelMeter(16_000)
    for start in range(0, len(audio), step):
        meter.add(audio[start : start + step])
    return meter


@pytest.mark.parametrize("step", [1, 333, 100_000])
def test_level(step: int) -> None:
    meter = measure(np.full((4000, 2), 0.1, np.float32), step)
    assert meter.level_dbfs == pytest.approx(-20.0, abs=0.01)
    assert meter.seconds == 0.25


def test_silence() -> None:
    meter = measure(np.zeros((4000, 1), np.float32))
    assert meter.level_dbfs == -math.inf
    assert meter.snr_db is None


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_snr_of_bursts_in_noise(noise: Noise, snr_db: float) -> None:
    audio = 0.1 * noise(160_000, 1)
    bursts = (np.arange(160_000) // 8000 % 2)[:, np.newaxis]  # half of the time
    louder = math.sqrt(2 * 10 ** (snr_db / 10))
    signal = audio + louder * bursts * 0.1 * noise(160_000, 1, seed=1)
    found = measure(signal.astype(np.float32)).snr_db
    assert found == pytest.approx(snr_db, abs=2)


def test_a_gate_has_no_endless_snr(noise: Noise) -> None:
    audio = noise(32_000, 1)
    audio[:16_000] = 0
    assert measure(audio).snr_db == 60.0
