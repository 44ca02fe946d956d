"""The guards: suppressors that pump, mute or drift by a known amount are caught by that amount."""

import numpy as np
import pytest

from truenet import guards
from truenet.guards import Samples
from truenet.metrics import SAMPLE_RATE_HZ


def utterance(seconds: float = 1.0) -> Samples:
    """A tone with silence around it."""
    tone = 0.3 * np.sin(np.arange(round(seconds * SAMPLE_RATE_HZ)) * 0.2)
    return np.pad(tone, 4_000).astype(np.float32)


@pytest.fixture
def steady() -> Samples:
    return np.random.default_rng(0).standard_normal(32_000).astype(np.float32)


def breathing(samples: Samples, sample_rate_hz: int) -> Samples:
    """Nothing is turned down while there is talk and for a second after it, then by 12 dB."""
    talk_and_pause = round(4 * SAMPLE_RATE_HZ)
    place = np.arange(len(samples)) % talk_and_pause
    return np.where(place < 2 * SAMPLE_RATE_HZ, samples, samples / 4).astype(np.float32)


@pytest.mark.parametrize("gain_db", [0, -20, -60])
def test_a_steady_gain_does_not_pump(steady: Samples, gain_db: float) -> None:
    gain = np.float32(10 ** (gain_db / 20))
    found = guards.pumping(lambda samples, _: gain * samples, [utterance()] * 2, steady, 10)
    expected = max(gain_db, -40)
    assert found.after_db == pytest.approx(expected, abs=0.01)
    assert found.long_db == pytest.approx(expected, abs=0.01)
    assert found.swing_db == pytest.approx(0, abs=0.01)


def test_noise_that_comes_back_with_talk_pumps(steady: Samples) -> None:
    found = guards.pumping(breathing, [utterance()] * 2, steady, 10)
    assert found.after_db == pytest.approx(0, abs=0.2)
    assert found.long_db == pytest.approx(-12, abs=0.2)
    assert 4 < found.swing_db < 7


def test_pumping_without_speech_is_refused(steady: Samples) -> None:
    with pytest.raises(ValueError, match="at least one utterance"):
        guards.pumping(breathing, [], steady, 10)


@pytest.mark.parametrize("gain_db", [0, -30])
def test_the_level_of_music(gain_db: float) -> None:
    music = guards.chords(2.0)
    assert 0.05 < np.abs(music).max() < 1
    gain = np.float32(10 ** (gain_db / 20))
    change_db = guards.level_change_db(lambda samples, _: gain * samples, music)
    assert change_db == pytest.approx(gain_db, abs=0.01)


def test_a_stream_that_gets_quieter_shows_in_its_last_round() -> None:
    audio = np.random.default_rng(1).standard_normal(40_000).astype(np.float32)
    latency, fed = 384, [np.zeros(384, np.float32)]
    heard = 0

    def process(block: Samples) -> Samples:
        nonlocal heard
        heard += len(block)
        gain = 0.5 if heard > 2 * len(audio) else 1.0
        joined = np.concatenate([fed.pop(), np.float32(gain) * block])
        fed.append(joined[len(block) :])
        return joined[: len(block)]

    first, last = guards.first_and_last_round(process, fed.pop, audio, 3, latency)
    assert np.array_equal(first, audio)
    assert np.array_equal(last, audio / 2)


def test_one_round_is_refused() -> None:
    audio = np.zeros(100, np.float32)
    with pytest.raises(ValueError, match="at least 2"):
        guards.first_and_last_round(lambda block: block, lambda: audio, audio, 1, 0)
