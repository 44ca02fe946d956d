import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from truenet.sources import SAMPLE_RATE_HZ, Recordings, decode, find_audio

FORMATS = [
    ("wav", "PCM_16", 16_000),
    ("wav", "PCM_U8", 8_000),
    ("WAV", "FLOAT", 44_100),
    ("flac", "PCM_24", 48_000),
    ("ogg", "VORBIS", 16_000),
    ("opus", "OPUS", 48_000),
    ("mp3", "MPEG_LAYER_III", 22_050),
    ("aiff", "PCM_16", 11_025),
]


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def write(path: Path, seconds: float = 0.5, hz: float = 440.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, SAMPLE_RATE_HZ, hz), SAMPLE_RATE_HZ)


@pytest.mark.parametrize(("ending", "subtype", "rate_hz"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_any_format_becomes_the_same_tone(
    tmp_path: Path, ending: str, subtype: str, rate_hz: int, channels: int
) -> None:
    container = "OGG" if ending == "opus" else ending.upper()
    stacked = np.tile(tone(1.0, rate_hz)[:, None], (1, channels))
    soundfile.write(tmp_path / f"a.{ending}", stacked, rate_hz, subtype, format=container)
    recordings = Recordings.from_folders([tmp_path])
    samples = recordings.samples.astype(np.float64) / 32768
    assert recordings.samples.dtype == np.int16
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, abs=0.13 * SAMPLE_RATE_HZ)
    spectrum = np.abs(np.fft.rfft(samples[2000:12_000] * np.hanning(10_000)))
    assert np.argmax(spectrum) == 440 * 10_000 // SAMPLE_RATE_HZ
    assert np.sqrt(np.mean(samples[2000:12_000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.05)


def test_decode_keeps_channels_and_full_scale(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([[1.0, -1.0]] * 10), 16_000, "FLOAT")
    np.testing.assert_array_equal(decode(tmp_path / "a.wav"), [[1.0, -1.0]] * 10)


def test_files_are_found_in_sorted_order_below_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b/c/2.FLAC", "a.wav", "b/1.flac"):
        write(tmp_path / name)
    (tmp_path / "._a.wav").write_bytes(b"resource fork")
    (tmp_path / "notes.txt").write_text("no audio")
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a.wav", "b/1.flac", "b/c/2.FLAC"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is not a folder.*\.opus"):
        Recordings.from_folders([tmp_path / "nowhere"])


def test_folder_without_audio_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    with pytest.raises(ValueError, match=r"speech holds no audio; looked for .wav .flac"):
        Recordings.from_folders([tmp_path / "speech"])


@pytest.mark.parametrize(
    "content", [b"this is text", b"", b"RIFF\x24\x00\x00\x00WAVE"], ids=["text", "empty", "header"]
)
def test_unreadable_file_is_skipped_and_counted(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(content)
    recordings = Recordings.from_folders([tmp_path])
    assert len(recordings) == 1
    assert recordings.skipped == (str(tmp_path / "bad.wav"),)


@pytest.mark.parametrize("samples", [np.full(8000, np.nan), np.zeros(0), np.ones(100)])
def test_file_of_no_use_is_skipped(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    write(tmp_path / "good.wav")
    soundfile.write(tmp_path / "bad.wav", samples, SAMPLE_RATE_HZ, "FLOAT")
    assert Recordings.from_folders([tmp_path]).skipped == (str(tmp_path / "bad.wav"),)


def test_folder_of_unreadable_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("text")
    with pytest.raises(ValueError, match=r"none of the 1 files can be read.*bad.wav"):
        Recordings.from_folders([tmp_path])


def test_cache_equals_decoding_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write(tmp_path / f"speech/{number}/x.flac", 0.3 + number / 10)
    (tmp_path / "speech/bad.wav").write_text("text")
    plain = Recordings.from_folders([tmp_path / "speech"])
    first = Recordings.from_folders([tmp_path / "speech"], cache=tmp_path / "cache")
    monkeypatch.setattr("truenet.sources.decode", lambda path: pytest.fail(f"decoded {path}"))
    second = Recordings.from_folders([tmp_path / "speech"], cache=tmp_path / "cache")
    for cached in (first, second):
        np.testing.assert_array_equal(cached.samples, plain.samples)
        np.testing.assert_array_equal(cached.offsets, plain.offsets)
        assert (cached.sources, cached.skipped) == (plain.sources, plain.skipped)
    assert isinstance(second.samples, np.memmap)
    assert not list((tmp_path / "cache").glob("*.part"))


def test_cache_notices_a_changed_file(tmp_path: Path) -> None:
    write(tmp_path / "speech/x.wav", 0.3)
    Recordings.from_folders([tmp_path / "speech"], cache=tmp_path / "cache")
    write(tmp_path / "speech/x.wav", 0.4)
    changed = Recordings.from_folders([tmp_path / "speech"], cache=tmp_path / "cache")
    assert len(changed.samples) == int(0.4 * SAMPLE_RATE_HZ)


def test_interrupted_write_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "speech/x.wav")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("truenet.sources.np.save", fail)
    with pytest.raises(KeyboardInterrupt):
        Recordings.from_folders([tmp_path / "speech"], cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_dataset_of_waveforms_is_a_source(tmp_path: Path) -> None:
    class Dataset:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
            rate_hz = (8_000, 16_000)[index]
            wave = torch.from_numpy(tone(0.5, rate_hz)).float()
            return torch.stack([wave, wave]), rate_hz, "transcript"

    recordings = Recordings.from_dataset(Dataset(), "mine")
    assert recordings.sources == ("mine", "mine")
    first, second = np.split(recordings.samples, recordings.offsets[1:-1])
    assert len(first) == len(second) == 8000
    np.testing.assert_allclose(first[1000:-1000], second[1000:-1000], atol=40)
    write(tmp_path / "a.wav")
    joined = Recordings.join([recordings, Recordings.from_folders([tmp_path])])
    assert joined.sources == ("mine", "mine", tmp_path.name)
    assert joined.offsets.tolist() == [0, 8000, 16_000, 24_000]


def unequal(weights: tuple[tuple[str, float], ...] = ()) -> Recordings:
    """One hour by one reader; sixteen recordings that make a hundredth of that."""
    lengths = [1_600_000, *[1_000] * 16]
    return Recordings(
        np.zeros(sum(lengths), np.int16),
        np.concatenate([[0], np.cumsum(lengths)]),
        ("long", *["short"] * 16),
        weights=weights,
    )


def test_long_reader_does_not_dominate() -> None:
    recordings = unequal()
    assert recordings.probabilities.sum() == pytest.approx(1)
    assert recordings.probabilities[0] == pytest.approx(10 / 11)
    weighted = unequal((("short", 10.0),))
    assert weighted.probabilities[0] == pytest.approx(0.5)
    generator = np.random.default_rng(0)
    drawn = np.array([weighted.draw(generator) for _ in range(4000)])
    assert np.mean(drawn == 0) == pytest.approx(0.5, abs=0.04)
    assert set(drawn) == set(range(17))


def test_weight_zero_leaves_a_source_out() -> None:
    recordings = unequal((("long", 0.0),))
    generator = np.random.default_rng(0)
    assert all(recordings.draw(generator) for _ in range(500))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((("shrot", 1.0),), "no source is named 'shrot'; the nearest is 'short'"),
        ((("short", -1.0),), "must be 0 or more"),
        ((("short", 0.0), ("long", 0.0)), "every source has the weight 0"),
    ],
)
def test_wrong_weights_are_errors(weights: tuple[tuple[str, float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unequal(weights)


def test_excerpts_stay_within_their_recording() -> None:
    recordings = dataclasses.replace(
        unequal(), samples=np.repeat(np.arange(17), [1_600_000, *[1_000] * 16]).astype(np.int16)
    )
    generator = np.random.default_rng(0)
    for index in range(17):
        piece = recordings.excerpt(index, generator, 3_000)
        assert len(piece) == (3_000 if index == 0 else 1_000)
        assert set(piece * 32768) == {index}
