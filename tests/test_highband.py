"""The gain of the band above the model's: linear, bounded, independent of the cuts."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.highband import TopBandGain

Noise = Callable[..., NDArray[np.float32]]


def gains(
    faders: list[list[float]], audio: NDArray[np.float32], outputs: list[NDArray[np.float32]]
) -> NDArray[np.float64]:
    follower = TopBandGain(512, 128, 192, 256, np.array(faders, np.float32), audio.shape[1])
    return follower.process(audio, np.stack(outputs))


@pytest.mark.parametrize("gain", [0.0, 0.25, 0.9])
def test_follows_the_gain_of_the_top_band(noise: Noise, gain: float) -> None:
    audio = noise(16_000, 2)
    found = gains([[1, 0, 0]], audio, [np.float32(gain) * audio])
    np.testing.assert_allclose(found, gain, atol=1e-5)


def test_hears_the_top_band_only() -> None:
    time = np.arange(16_000, dtype=np.float32) / 16_000
    low = np.sin(2 * np.pi * 1000 * time)[:, np.newaxis].astype(np.float32)
    high = np.sin(2 * np.pi * 7000 * time)[:, np.newaxis].astype(np.float32)
    found = gains([[1, 0, 0]], low + high, [low + np.float32(0.1) * high])
    np.testing.assert_allclose(found[5:-5], 0.1, atol=1e-3)


def test_faders_at_one_give_exactly_one(noise: Noise) -> None:
    audio = noise(8_000, 1)
    np.testing.assert_array_equal(gains([[1, 1, 1]], audio, [audio + noise(8_000, 1, seed=1)]), 1.0)


def test_stems_sum_to_one_whatever_they_are(noise: Noise) -> None:
    audio, voice, room = noise(8_000, 1), noise(8_000, 1, seed=1), noise(8_000, 1, seed=2)
    found = gains(np.eye(3).tolist(), audio, [voice, room, audio - voice - room])
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert found.min() >= 0


def test_stays_within_the_faders(noise: Noise) -> None:
    audio = noise(8_000, 1)
    found = gains([[1, 0.5, 0.1]], audio, [5 * noise(8_000, 1, seed=3) - audio])
    assert found.min() >= np.float32(0.1)
    assert found.max() <= 1.0


def test_silence_counts_as_noise() -> None:
    silence = np.zeros((8_000, 1), np.float32)
    np.testing.assert_allclose(gains([[1, 0.5, 0.1]], silence, [silence]), 0.1)


@pytest.mark.parametrize("step", [1, 100, 128, 1000])
def test_cuts_do_not_matter(noise: Noise, step: int) -> None:
    audio, output = noise(4_000, 1), noise(4_000, 1, seed=1)
    faders = np.array([[1, 0, 0]], np.float32)
    follower = TopBandGain(512, 128, 192, 256, faders, 1)
    pieces = [
        follower.process(audio[start : start + step], output[np.newaxis, start : start + step])
        for start in range(0, len(audio), step)
    ]
    whole = gains([[1, 0, 0]], audio, [output])
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)
