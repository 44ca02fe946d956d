"""Levels of talk without a clean voice: what is turned down is seen, in the right place."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truenet_apps.adapt_unpaired import (
    Levels,
    Unpaired,
    as_json,
    levels,
    lines,
    read_unpaired,
    talk_frames,
)

RATE_HZ = 16_000
Samples = np.ndarray


def talk_and_noise() -> tuple[Samples, Samples]:
    """Two seconds of talk between pauses of a second, and steady noise 20 dB below."""
    generator = np.random.default_rng(0)
    voice, noise = (generator.standard_normal(4 * RATE_HZ).astype(np.float32) for _ in range(2))
    voice[: 32 * 512] = 0
    voice[96 * 512 :] = 0
    return voice * np.float32(0.1), noise * np.float32(0.01)


@settings(max_examples=20)
@given(st.floats(-40, 0), st.floats(-20, 0))
def test_what_is_turned_down_is_what_is_measured(noise_db: float, voice_db: float) -> None:
    voice, noise = talk_and_noise()
    is_talk = talk_frames(voice)
    assert is_talk.sum() == 64
    noise, voice = noise * 10 ** (noise_db / 20), voice * 10 ** (voice_db / 20)
    found = levels((voice + noise).astype(np.float32), is_talk)
    assert found.pauses_dbfs == pytest.approx(-40 + noise_db, abs=0.3)
    assert found.talk_dbfs == pytest.approx(
        10 * math.log10(10 ** (-2 + voice_db / 10) + 10 ** (-4 + noise_db / 10)), abs=0.3
    )
    # the mean over all frames, of which half hold talk, against the quietest
    assert found.snr_db == pytest.approx(20 - 3 + voice_db - noise_db, abs=2)


def test_a_signal_without_pauses_has_no_level_there() -> None:
    samples = np.full(RATE_HZ, 0.1, np.float32)
    found = levels(samples, talk_frames(samples))
    assert math.isnan(found.pauses_dbfs)
    assert found.talk_dbfs == pytest.approx(-20, abs=0.01)


def test_the_table_and_the_json_say_what_they_mean() -> None:
    noisy, before = Levels(-40, -20, 15), Levels(-60, -21, 30)
    good = Unpaired(3, noisy, before, Levels(-65, -21.5, math.nan))
    bad = Unpaired(3, noisy, before, Levels(-65, -23, 30))
    assert not good.warnings()
    assert bad.warnings() == ["in the unpaired recordings the voice got 2.0 dB quieter than before"]
    text = "\n".join(lines(good))
    for words in ("3 unpaired", "-65.0", "talk, dBFS", "no clean voice to compare with"):
        assert words in text
    assert as_json(good)["after"] == {"pauses_dbfs": -65, "talk_dbfs": -21.5, "snr_db": None}


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no audio"):
        read_unpaired(tmp_path)
