import numpy as np
import pytest

from truenet.sources import Recordings
from truenet.tracks import recorded_noise, repeated, slow_curve, talk


def tones(lengths: list[int]) -> Recordings:
    """Sine tones of 200 Hz and multiples, at half of full scale."""
    waves = [
        16_384 * np.sin(2 * np.pi * 200 * (1 + index) * np.arange(length) / 16_000)
        for index, length in enumerate(lengths)
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Recordings(np.concatenate(waves).astype(np.int16), offsets, ("tones",) * len(lengths))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("speed_probability", [0.0, 1.0])
def test_talk_has_short_pauses_and_no_clicks(seed: int, speed_probability: float) -> None:
    recordings = tones([3_000, 20_000, 30_000])
    track = talk(np.random.default_rng(seed), recordings, 68_000, speed_probability)
    assert track.shape == (68_000,)
    assert track.dtype == np.float32
    # The steepest tone has 600 Hz, at most 1.15 times as fast, −22 dB RMS or 0.112 at its peak.
    assert np.abs(np.diff(track)).max() < 0.112 * 2 * np.pi * 600 * 1.15 / 16_000 * 1.05
    pauses = np.diff(np.flatnonzero(np.abs(track) > 1e-6))
    assert 0.05 * 16_000 <= pauses.max() <= 0.6 * 16_000 + 20


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 5_000])
def test_short_tracks_and_short_recordings(samples: int) -> None:
    generator = np.random.default_rng(0)
    recordings = tones([1_600, 1_700])
    assert len(talk(generator, recordings, samples, 1.0)) == samples
    assert len(recorded_noise(generator, recordings, samples, 1.0)) == samples


def test_silent_recordings_stay_silent() -> None:
    silence = Recordings(np.zeros(9_000, np.int16), np.array([0, 9_000]), ("silence",))
    assert not talk(np.random.default_rng(0), silence, 20_000, 1.0).any()
    assert not recorded_noise(np.random.default_rng(0), silence, 20_000, 1.0).any()


def test_short_noise_is_repeated_without_steps() -> None:
    for seed in range(5):
        track = repeated(np.random.default_rng(seed), tones([4_000]), 50_000)
        assert len(track) == 50_000
        assert np.abs(np.diff(track)).max() < 0.09  # 0.5 · 2π · 200 / 16,000 = 0.04, crossfades add
        levels = np.sqrt(np.mean(track[:48_000].reshape(-1, 800) ** 2, axis=1))
        assert levels.min() > 0.1


def test_slow_curve_is_slow_and_bounded() -> None:
    curve = slow_curve(np.random.default_rng(0), 48_000, 4.0)
    assert np.abs(curve).max() <= 1
    assert np.abs(np.diff(curve)).max() < 2 * 4.5 / 16_000
