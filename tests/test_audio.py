"""Reading: every format, unknown lengths, and clear words about what is broken."""

import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from truenet.audio import AudioReader, open_audio, open_pipe
from truenet.raw import RawFormat

Noise = Callable[..., NDArray[np.float32]]


def read_all(reader: AudioReader, block: int = 1000) -> NDArray[np.float32]:
    with reader:
        return np.concatenate(list(reader.blocks(block)))


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_U8"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.wav", "MS_ADPCM"),
        ("a.flac", "PCM_16"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
        ("a.aiff", "PCM_16"),
        ("a.au", "ULAW"),
        ("a.caf", "ALAC_16"),
        ("a.w64", "PCM_16"),
    ],
)
def test_formats(tmp_path: Path, noise: Noise, name: str, subtype: str) -> None:
    soundfile.write(tmp_path / name, noise(5000, 2), 44_100, subtype)
    expected, _ = soundfile.read(tmp_path / name, dtype="float32")
    reader = open_audio(tmp_path / name)
    assert (reader.info.sample_rate_hz, reader.info.channels) == (44_100, 2)
    assert reader.info.subtype == subtype
    np.testing.assert_array_equal(read_all(reader), expected)


def wav_with_length(path: Path, audio: NDArray[np.float32], length: int) -> bytes:
    """A WAV file whose header claims `length` bytes of samples."""
    soundfile.write(path, audio, 16_000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_wav_files_that_were_never_closed(tmp_path: Path, noise: Noise, length: int) -> None:
    audio = noise(5000)
    wav_with_length(tmp_path / "a.wav", audio, length)
    read = read_all(open_audio(tmp_path / "a.wav"))
    np.testing.assert_allclose(read[:, 0], audio, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "an empty file"),
        ("a.wav", b"Dear diary, today I recorded nothing.\n" * 9, "not an audio file"),
        ("a.flac", b"fLaC" + bytes(100), "not an audio file|holds no samples"),
        ("a.mp3", b"\xff\xfb\x90\x00", "not an audio file|holds no samples|damaged"),
    ],
)
def test_what_is_not_audio(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_all(open_audio(tmp_path / name))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_files(tmp_path: Path, noise: Noise, name: str, part: float) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(50_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"cut off or damaged .*ffmpeg -i"):
        read_all(open_audio(path))


def test_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(ValueError, match="holds no samples"):
        read_all(open_audio(tmp_path / "a.wav"))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        open_audio(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="a folder, not a file"):
        open_audio(tmp_path)


@pytest.mark.parametrize("rate_hz", [1, 2_000_000])
def test_absurd_rates(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(10), rate_hz)
    with pytest.raises(ValueError, match=r"a.wav: a sample rate of \d+ Hz: possible are"):
        open_audio(tmp_path / "a.wav")


def test_rate_zero(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(10), 16_000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = bytes(4)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.wav: "):
        open_audio(tmp_path / "a.wav")


@pytest.fixture
def pipe() -> Iterator[Callable[[bytes], int]]:
    """A pipe that is being fed the bytes; the end to read from."""
    threads: list[threading.Thread] = []
    ends: list[int] = []

    def feed(content: bytes) -> int:
        reading, writing = os.pipe()

        def write() -> None:
            with os.fdopen(writing, "wb") as file:
                file.write(content)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        ends.append(reading)
        return reading

    yield feed
    for end in ends:
        os.close(end)
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("length", [10_000, 0, 0xFFFFFFFF])
def test_wav_from_a_pipe(
    tmp_path: Path, noise: Noise, pipe: Callable[[bytes], int], length: int
) -> None:
    audio = noise(5000)
    content = wav_with_length(tmp_path / "a.wav", audio, length)
    trailer = b"LIST\x04\x00\x00\x00INFO" if length == 10_000 else b""
    reader = open_pipe(pipe(content + trailer))
    assert reader.info.samples == (5000 if length == 10_000 else None)
    np.testing.assert_allclose(read_all(reader)[:, 0], audio, atol=1e-4)


def test_a_pipe_that_ends_early(tmp_path: Path, noise: Noise, pipe: Callable[[bytes], int]) -> None:
    content = wav_with_length(tmp_path / "a.wav", noise(5000), 10_000)
    with pytest.raises(
        ValueError, match=r"standard input: cut off or damaged after 0.25 s of 0.31 s"
    ):
        read_all(open_pipe(pipe(content[:8044])))


def test_raw_samples_from_a_pipe(noise: Noise, pipe: Callable[[bytes], int]) -> None:
    audio = np.rint(noise(3000, 2) * 32_768).astype(">i2")
    reader = open_pipe(pipe(audio.tobytes()), RawFormat.parse("s16be,16000,2"))
    np.testing.assert_array_equal(read_all(reader) * 32_768, audio)


@pytest.mark.parametrize("length", [10_000, 0])
def test_a_file_as_standard_input(tmp_path: Path, noise: Noise, length: int) -> None:
    audio = noise(5000)
    wav_with_length(tmp_path / "a.wav", audio, length)
    with (tmp_path / "a.wav").open("rb") as file:
        read = read_all(open_pipe(file.fileno()))
    np.testing.assert_allclose(read[:, 0], audio, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"fLaC" + bytes(50), b"not audio at all"])
def test_pipes_without_wav(content: bytes, pipe: Callable[[bytes], int]) -> None:
    with pytest.raises(ValueError, match=r"no WAV stream; convert it, or say what it is: --raw"):
        open_pipe(pipe(content))


def test_a_compressed_stream(tmp_path: Path, noise: Noise, pipe: Callable[[bytes], int]) -> None:
    soundfile.write(tmp_path / "a.wav", noise(5000), 16_000, "MS_ADPCM")
    with pytest.raises(ValueError, match="a compressed WAV stream; convert it to PCM"):
        open_pipe(pipe((tmp_path / "a.wav").read_bytes()))
