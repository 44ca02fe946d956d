"""Writing: the input's kind wherever possible, whole or not at all."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from truenet.audio import AudioInfo
from truenet.raw import RawFormat
from truenet.writing import FileWriter, PipeWriter, choose_encoding, container_for

Noise = Callable[..., NDArray[np.float32]]


def info(format_: str = "WAV", subtype: str = "PCM_16", channels: int = 1) -> AudioInfo:
    return AudioInfo(16_000, channels, format_, subtype, 1000)


@pytest.mark.parametrize(
    ("source", "names", "subtype", "expected"),
    [
        (("WAV", "PCM_24"), ".wav .wav", None, ("WAV", "PCM_24")),
        (("WAVEX", "FLOAT"), ".wav .wav", None, ("WAVEX", "FLOAT")),
        (("OGG", "OPUS"), ".opus .opus", None, ("OGG", "OPUS")),
        (("MP3", "MPEG_LAYER_III"), ".mp3 .mp3", None, ("MP3", "MPEG_LAYER_III")),
        (("WAV", "PCM_24"), ".wav .flac", None, ("FLAC", "PCM_24")),
        (("WAV", "FLOAT"), ".wav .flac", None, ("FLAC", "PCM_24")),
        (("WAV", "PCM_U8"), ".wav .flac", None, ("FLAC", "PCM_16")),
        (("MP3", "MPEG_LAYER_III"), ".mp3 .wav", None, ("WAV", "PCM_16")),
        (("OGG", "OPUS"), ".opus .ogg", None, ("OGG", "VORBIS")),
        (("WAV", "PCM_16"), ".wav .mp3", None, ("MP3", "MPEG_LAYER_III")),
        (("WAV", "PCM_16"), ".wav .wav", "FLOAT", ("WAV", "FLOAT")),
        (("FLAC", "PCM_16"), ".FLAC .flac", None, ("FLAC", "PCM_16")),
    ],
)
def test_encodings(
    source: tuple[str, str], names: str, subtype: str | None, expected: tuple[str, str]
) -> None:
    before, after = names.split()
    assert choose_encoding(info(*source), before, after, subtype) == expected


def test_encodings_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"cannot write '.doc' files; use one of .wav"):
        choose_encoding(info(), ".wav", ".doc")
    with pytest.raises(
        ValueError, match="FLOAT is not for FLAC; possible are PCM_S8, PCM_16, PCM_24"
    ):
        choose_encoding(info(), ".wav", ".flac", "FLOAT")


@pytest.mark.parametrize(
    ("format_", "samples", "expected"),
    [
        ("WAV", 1000, "WAV"),
        ("WAV", None, "WAV"),
        ("WAV", 2**30, "RF64"),
        ("WAVEX", 2**30, "RF64"),
        ("FLAC", 2**30, "FLAC"),
    ],
)
def test_more_than_wav_can_count(format_: str, samples: int | None, expected: str) -> None:
    assert container_for(format_, "PCM_16", 2, samples) == expected


def test_a_file_appears_when_it_is_whole(tmp_path: Path, noise: Noise) -> None:
    path, audio = tmp_path / "new" / "folder" / "a.flac", noise(2000, 2)
    with FileWriter(path, info(channels=2), "FLAC", "PCM_16") as writer:
        writer.write(audio[:1000])
        writer.write(audio[1000:])
        assert not path.exists()
        writer.commit()
    read, _ = soundfile.read(path)
    np.testing.assert_allclose(read, audio, atol=2e-5)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.flac"]


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path: Path, noise: Noise) -> None:
    (tmp_path / "old.wav").write_bytes(b"old")
    for path in (tmp_path / "new.wav", tmp_path / "old.wav"):
        with FileWriter(path, info(), "WAV", "PCM_16") as writer:
            writer.write(noise(100, 1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.wav"]
    assert (tmp_path / "old.wav").read_bytes() == b"old"


def test_a_signal_while_it_is_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, *_: object, **__: object) -> None:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "SoundFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FileWriter(tmp_path / "a.wav", info(), "WAV", "PCM_16")
    assert not list(tmp_path.iterdir())


def test_tags_are_kept(tmp_path: Path, noise: Noise) -> None:
    source = AudioInfo(16_000, 1, "FLAC", "PCM_16", 10, tags={"title": "Hall", "artist": "Ada"})
    with FileWriter(tmp_path / "a.flac", source, "FLAC", "PCM_16") as writer:
        writer.write(noise(10, 1))
        writer.commit()
    with soundfile.SoundFile(tmp_path / "a.flac") as file:
        assert file.copy_metadata() == {"title": "Hall", "artist": "Ada"} | file.copy_metadata()


@pytest.mark.parametrize(
    ("format_", "subtype", "channels"), [("MP3", "MPEG_LAYER_III", 7), ("FLAC", "PCM_16", 9)]
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, format_: str, subtype: str, channels: int
) -> None:
    with pytest.raises(
        ValueError, match=rf"{format_} .* cannot hold {channels} channels at 16000 Hz"
    ):
        FileWriter(tmp_path / "a", info(channels=channels), format_, subtype)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="cannot be written: "):
        FileWriter(tmp_path / "file" / "a.wav", info(), "WAV", "PCM_16")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_a_wav_stream(noise: Noise, subtype: str) -> None:
    audio, stream = noise(1000, 2), io.BytesIO()
    writer = PipeWriter(stream, info("WAV", subtype, 2))
    writer.write(audio[:300])
    writer.write(audio[300:])
    read, _ = soundfile.read(io.BytesIO(stream.getvalue()))
    np.testing.assert_allclose(read, audio, atol=0.02)


def test_raw_samples(noise: Noise) -> None:
    audio, stream = np.rint(noise(1000, 1) * 32_768), io.BytesIO()
    PipeWriter(stream, info(), RawFormat.parse("s16be,16000,1")).write(
        (audio / 32_768).astype(np.float32)
    )
    np.testing.assert_array_equal(np.frombuffer(stream.getvalue(), ">i2"), audio[:, 0])
