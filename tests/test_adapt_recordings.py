"""What is noticed about recordings, and what is held out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from truenet_apps.adapt_recordings import fingerprint, listen, split

RATE_HZ = 16_000


def write(folder: Path, name: str, samples: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, samples, rate_hz, subtype="FLOAT")


def hiss(seconds: float, level: float = 0.05, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(int(seconds * rate_hz)) * level


def test_every_oddity_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, "good.wav", hiss(12))
    write(tmp_path, "silent.wav", np.zeros(RATE_HZ))
    write(tmp_path, "faint.wav", hiss(2, 10 ** (-60 / 20)))
    write(tmp_path, "clipped.wav", np.clip(hiss(2, 2.0), -1, 1))
    write(tmp_path, "phone.wav", hiss(2, rate_hz=8000), 8000)
    write(tmp_path, "voice.wav", np.ones(RATE_HZ) * 0.1)
    (tmp_path / "broken.wav").write_text("no audio")
    heard, warnings = listen(tmp_path, lambda samples: 0.0 if samples.min() > 0 else -20.0)
    assert sorted(one.name for one in heard) == [
        "clipped.wav", "faint.wav", "good.wav", "phone.wav", "voice.wav",
    ]  # fmt: skip
    said = "\n".join(warnings)
    for words in (
        "silent.wav: silent", "faint.wav: nearly silent", "clipped.wav: 6", "% of it is clipped",
        "nothing above 4 kHz", "voice.wav: sounds like speech", "broken.wav cannot be read",
    ):  # fmt: skip
        assert words in said
    assert "good.wav" not in said
    assert next(one for one in heard if one.name == "phone.wav").seconds == pytest.approx(
        2, abs=0.01
    )


def test_nothing_but_speech_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", hiss(12))
    with pytest.raises(ValueError, match=r"everything in .* sounds like speech"):
        listen(tmp_path, lambda _: -0.1)


def test_the_shipped_model_tells_speech_from_noise(shared_data: Path, tmp_path: Path) -> None:
    from truenet_apps.adapt_job import Job

    job = Job(tmp_path / "f.adapter", None, {}, None, lambda _: None)
    levels = {
        name: [
            job._voice_level_db(soundfile.read(path, dtype="float32", frames=3 * RATE_HZ)[0])
            for path in sorted((shared_data / "valid" / name).rglob("*.flac"))[::5]
        ]
        for name in ("speech", "noise")
    }
    assert min(levels["speech"]) > -3
    assert np.mean(np.array(levels["noise"]) < -3) > 0.6


@given(st.lists(st.tuples(st.integers(20, 60), st.sampled_from("ab")), min_size=1, max_size=12))
def test_splitting_loses_nothing_and_shares_nothing(files: list[tuple[int, str]]) -> None:
    pieces = [np.full(tenths * 1600, index, np.int16) for index, (tenths, _) in enumerate(files)]
    made = split(pieces, [group for _, group in files])
    assert all(made.pieces[part] for part in ("train", "watch", "report"))
    total = sum(len(piece) for part in made.pieces.values() for piece in part)
    assert total == sum(map(len, pieces))
    seen = {part: {int(piece[0]) for piece in made.pieces[part]} for part in made.pieces}
    assert made.by == ("recording" if len(files) >= 3 else "time")
    assert seen["watch"] == seen["train"]
    assert bool(seen["report"] & seen["train"]) == (made.by == "time")


def test_each_group_of_several_files_holds_one_out() -> None:
    pieces = [np.zeros(16_000, np.int16) + index for index in range(7)]
    made = split(pieces, ["a", "a", "a", "a", "b", "b", "c"])
    assert sorted(int(piece[0]) for piece in made.pieces["report"]) == [3, 5]
    assert made.groups["report"] == ["a", "b"]


def test_weights_are_of_the_groups_that_a_part_has() -> None:
    pieces = [np.zeros(16_000, np.int16) for _ in range(6)]
    made = dataclasses.replace(split(pieces, list("aaabbb")), weights=(("a", 3.0), ("c", 9.0)))
    recordings = made.recordings("train")
    share = sum(
        p
        for p, name in zip(recordings.probabilities, recordings.sources, strict=True)
        if name == "a"
    )
    assert share == pytest.approx(0.75)


def test_the_fingerprint_is_of_the_samples() -> None:
    pieces = [np.arange(9, dtype=np.int16), np.arange(4, dtype=np.int16)]
    assert fingerprint(pieces) == fingerprint([piece.copy() for piece in pieces])
    assert fingerprint(pieces) != fingerprint([pieces[0] + 1, pieces[1]])
