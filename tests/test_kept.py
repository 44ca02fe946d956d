"""What is kept of the voice: equal, quieter, noisier, and with pieces cut out."""

import numpy as np
import pytest

from truenet import kept, metrics
from truenet.metrics import SAMPLE_RATE_HZ, NotScored, Samples

MEASURES = [
    metrics._SINGLE[name] for name in ("onset_kept_db", "consonant_kept_db", "upper_band_kept_db")
]
EATEN = metrics._SINGLE["eaten_onsets"]
SYLLABLE, PAUSE = 4_800, 6_400


def made_talk(syllables: int = 4, seed: int = 0) -> Samples:
    """Pauses and syllables: a hiss of 0.1 s, then a tone with overtones for 0.2 s, over faint noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(2 * SYLLABLE // 3) / SAMPLE_RATE_HZ
    vowel = sum(0.1 / k * np.sin(2 * np.pi * 150 * k * time_s) for k in range(1, 40))
    hiss = np.diff(generator.standard_normal(SYLLABLE // 3 + 1)) * 0.03
    parts = [np.zeros(PAUSE), hiss, vowel] * syllables
    talk = np.concatenate(parts)
    return np.asarray(talk + 1e-4 * generator.standard_normal(talk.size))


def onset(number: int, samples: int = 2_400) -> slice:
    begin = number * (PAUSE + SYLLABLE) + PAUSE
    return slice(begin, begin + samples)


@pytest.mark.parametrize("measure", MEASURES)
def test_all_of_a_voice_is_kept_in_itself(measure: metrics.Metric) -> None:
    talk = made_talk()
    assert measure(talk, talk) == pytest.approx(0, abs=1e-9)
    assert measure(talk, 3 * talk) == pytest.approx(0, abs=1e-9)
    assert EATEN(talk, talk) == 0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("level_db", [-3, -12])
def test_a_quieter_voice_is_kept_less(measure: metrics.Metric, level_db: float) -> None:
    talk = made_talk()
    assert measure(talk, talk * 10 ** (level_db / 20)) == pytest.approx(level_db, abs=0.01)


@pytest.mark.parametrize("measure", MEASURES)
def test_noise_takes_little_and_adds_nothing(measure: metrics.Metric) -> None:
    talk = made_talk()
    noisy = talk + 0.1 * np.random.default_rng(1).standard_normal(talk.size)
    assert -2 < measure(talk, noisy) < 0


@pytest.mark.parametrize("cut", [0, 1, 4])
def test_onsets_that_are_cut_off_are_counted(cut: int) -> None:
    talk = made_talk()
    estimate = talk.copy()
    for number in range(cut):
        estimate[onset(number)] = 0
    assert EATEN(talk, estimate) == cut / 4
    louder_later = estimate * np.where(np.arange(talk.size) < onset(cut - 1).stop, 1, 4)
    assert EATEN(talk, louder_later) == cut / 4


def test_consonants_are_the_hiss() -> None:
    talk = made_talk()
    estimate = talk.copy()
    for number in range(4):
        estimate[onset(number, SYLLABLE // 3)] *= 0.1
    consonants = metrics._SINGLE["consonant_kept_db"](talk, estimate)
    assert -20 <= consonants < -15
    vowels = estimate.copy()
    vowels[onset(0, SYLLABLE // 3)] = talk[onset(0, SYLLABLE // 3)]
    assert metrics._SINGLE["consonant_kept_db"](talk, vowels) > consonants + 3


@pytest.mark.parametrize("snr_db", [0, 10, 20])
def test_what_is_left_over_is_the_noise(snr_db: float) -> None:
    talk = made_talk()
    noise = np.random.default_rng(2).standard_normal(talk.size)
    noise *= np.sqrt(np.mean(talk**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    left_over = metrics._SINGLE["left_over_db"]
    assert left_over(talk, talk + noise) == pytest.approx(-snr_db, abs=3)
    assert left_over(talk, 0.5 * talk) == -30


def test_what_is_not_there_has_a_reason() -> None:
    vowel = np.sin(np.arange(16_000) * 0.05)  # no pause, no consonant
    for name in ("onset_kept_db", "eaten_onsets", "consonant_kept_db"):
        score = metrics._SINGLE[name](vowel, vowel)
        assert isinstance(score, NotScored)
        assert name in score.reason
    short = metrics._SINGLE["onset_kept_db"](vowel[:3_000], vowel[:3_000])
    assert isinstance(short, NotScored)
    assert "0.2 s" in short.reason


def test_talk_frames_are_where_the_syllables_are() -> None:
    talk = kept.talk_frames(made_talk())
    assert 0.35 < talk.mean() < 0.5
    assert not talk[: PAUSE // 160 - 3].any()


def test_a_burst_of_the_recordings_own_noise_is_no_onset() -> None:
    talk = made_talk()
    active_db = 10 * np.log10(np.mean(talk[onset(0, SYLLABLE)] ** 2))
    burst = slice(1_600, 2_400)
    talk[burst] = np.random.default_rng(3).standard_normal(800) * 10 ** ((active_db - 18) / 20)
    estimate = talk.copy()
    estimate[burst] = 0
    assert EATEN(talk, estimate) == 0
    estimate[onset(0)] = 0
    assert EATEN(talk, estimate) == 1 / 4
