"""Audio files and pipes as blocks of samples: what libsndfile reads, and what it does not tell.

`open_audio` also opens containers (m4a, mp4, video) through PyAV where that is installed, and
`open_pipe` a stream that can be read only once. Memory does not grow with the length.
"""

import contextlib
import dataclasses
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import soundfile

from truenet.anyrate import check_sample_rate
from truenet.fifo import Samples
from truenet.raw import RawFormat
from truenet.samples import MOST_CHANNELS
from truenet.suffixes import CONTAINERS
from truenet.wav import UnclosedWav, read_header

UNKNOWN_SAMPLES = 2**48  # libsndfile gives huge numbers where a length is unknown
STANDARD_INPUT = "standard input"


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """What an input is. `format` and `subtype` are libsndfile's names; `samples` (of a channel) is
    None where the length is not known before the end, `estimated_seconds` is for progress only;
    `tags` are title, artist and so on.
    """

    sample_rate_hz: int
    channels: int
    format: str
    subtype: str
    samples: int | None
    estimated_seconds: float | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """The length, as far as it is known."""
        if self.samples is None:
            return self.estimated_seconds
        return self.samples / self.sample_rate_hz


class AudioReader(Protocol):
    """An open input, to be used as a context manager."""

    info: AudioInfo

    def blocks(self, samples: int) -> Iterator[Samples]:
        """Blocks (samples, channels) of float32 until the end; the last one may be shorter.

        Raises:
            ValueError: the audio is damaged, or ends before its header says.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def open_audio(path: Path) -> AudioReader:
    """Open an audio file, or a container with an audio track.

    Raises:
        ValueError: not there, not audio, empty, cut off, or with a rate or channels that no
            recording has.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    if path.is_dir():
        raise ValueError(f"{path}: a folder, not a file")
    if path.suffix.lower() in CONTAINERS:
        from truenet.container import ContainerReader

        return ContainerReader(path)
    try:
        with path.open("rb") as file:
            patched = _examine(str(path), file.fileno())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    source = path if patched is None else UnclosedWav(path, patched)
    return SoundFileReader(str(path), source)


def open_pipe(descriptor: int, raw: RawFormat | None = None) -> AudioReader:
    """Open a WAV stream of known or unknown length, or raw samples, that can be read only once.

    Raises:
        ValueError: no WAV stream, or one of a codec that cannot be streamed.
    """
    if raw is not None:
        return SoundFileReader(STANDARD_INPUT, descriptor, raw)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        patched = _examine(STANDARD_INPUT, descriptor)
        return SoundFileReader(STANDARD_INPUT, UnclosedWav(descriptor, patched))
    header = read_header(lambda count: _read_exactly(descriptor, count))
    if header is None:
        raise ValueError(
            f"{STANDARD_INPUT}: no WAV stream; convert it, or say what it is: --raw s16le,16000,1"
        )
    if header.subtype is None or not header.frame_bytes:
        raise ValueError(f"{STANDARD_INPUT}: a compressed WAV stream; convert it to PCM first")
    raw = RawFormat(header.subtype, "LITTLE", header.sample_rate_hz, header.channels)
    samples = None if header.data_bytes is None else header.data_bytes // header.frame_bytes
    return SoundFileReader(STANDARD_INPUT, descriptor, raw, samples)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from start to end only.

    After each read of a file with `seekable()`, soundfile seeks to where it is already: that loses
    3,000 samples at every block of an MP3 file, and time elsewhere.
    """

    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """An input that libsndfile reads.

    Args:
        name: for errors.
        source: a path, a file descriptor or a file object.
        raw: what the samples are, where no header says it.
        samples: how many there are of each channel, where they are raw and it is known.
    """

    def __init__(
        self,
        name: str,
        source: Path | int | io.RawIOBase,
        raw: RawFormat | None = None,
        samples: int | None = None,
    ) -> None:
        self._name = name
        with contextlib.ExitStack() as opened:
            if isinstance(source, io.RawIOBase):
                opened.callback(source.close)
            self._file = opened.enter_context(_open_file(name, source, raw))
            self.info = _info(self._file, raw, samples)
            check_info(name, self.info)
            self._opened = opened.pop_all()

    def blocks(self, samples: int) -> Iterator[Samples]:
        done, total = 0, self.info.samples
        while total is None or done < total:
            wanted = samples if total is None else min(samples, total - done)
            try:
                block = self._file.read(wanted, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ValueError(self._damaged(done)) from error
            if not len(block):
                break
            done += len(block)
            yield block
        if not done:
            raise ValueError(f"{self._name}: holds no samples")
        if total is not None and done < total and self.info.format != "MP3":  # guesses its length
            raise ValueError(self._damaged(done))

    def _damaged(self, done: int) -> str:
        rate_hz, total = self.info.sample_rate_hz, self.info.samples
        promised = "" if total is None else f" of {total / rate_hz:.2f} s"
        return damaged(self._name, f"after {done / rate_hz:.2f} s{promised}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()


def check_info(name: str, info: AudioInfo) -> None:
    """Refuse inputs that are empty or that no recorder makes.

    Raises:
        ValueError: no samples, or a rate or a number of channels out of range.
    """
    if info.samples == 0:
        raise ValueError(f"{name}: holds no samples")
    if info.channels > MOST_CHANNELS:
        raise ValueError(f"{name}: {info.channels} channels; up to {MOST_CHANNELS} can be enhanced")
    try:
        check_sample_rate(info.sample_rate_hz)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def damaged(name: str, where: str) -> str:
    """The text of an error about audio that ends too early."""
    return (
        f"{name}: cut off or damaged {where}; copy it again, or save what is there: "
        f"ffmpeg -i {name} repaired.wav"
    )


def _open_file(
    name: str, source: Path | int | io.RawIOBase, raw: RawFormat | None
) -> soundfile.SoundFile:
    layout: dict[str, Any] = {}
    if raw is not None:
        layout = {
            "format": "RAW",
            "subtype": raw.subtype,
            "endian": raw.endian,
            "samplerate": raw.sample_rate_hz,
            "channels": raw.channels,
        }
    try:
        return _ForwardFile(source, closefd=False, **layout)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{name}: not an audio file that can be read ({_reason(error)})"
        ) from error


def _info(file: soundfile.SoundFile, raw: RawFormat | None, samples: int | None) -> AudioInfo:
    length = file.frames if raw is None else samples
    known = length is not None and length < UNKNOWN_SAMPLES
    return AudioInfo(
        sample_rate_hz=file.samplerate,
        channels=file.channels,
        format=file.format if raw is None else "WAV",
        subtype=file.subtype,
        samples=length if known else None,
        tags=file.copy_metadata(),
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _read_exactly(descriptor: int, count: int) -> bytes:
    pieces = []
    while count and (piece := os.read(descriptor, min(count, 65_536))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _examine(name: str, descriptor: int) -> int | None:
    """Check that a file is whole; for a WAV file that was never closed, where its length stands."""
    size = os.fstat(descriptor).st_size
    header = read_header(lambda count: _read_exactly(descriptor, count))
    os.lseek(descriptor, 0, os.SEEK_SET)
    start = _read_exactly(descriptor, 24)
    os.lseek(descriptor, 0, os.SEEK_SET)
    if not size:
        raise ValueError(f"{name}: an empty file")
    if _declared_bytes(start) > size + 1:
        raise ValueError(damaged(name, "at its end"))
    if header is None:
        return None
    if header.data_bytes is None:
        return header.data_offset - 4
    if size - header.data_offset < header.data_bytes:
        seconds = (size - header.data_offset) / max(1, header.bytes_a_second)
        promised = header.data_bytes / max(1, header.bytes_a_second)
        raise ValueError(damaged(name, f"after {seconds:.2f} s of {promised:.2f} s"))
    return None


def _declared_bytes(start: bytes) -> int:
    """Size of the file by its own words; 0 where it says nothing. (WAV is looked at closer.)"""
    if start[:4] == b"FORM":  # AIFF
        return int.from_bytes(start[4:8], "big") + 8
    if start[:4] == b"riff":  # W64
        return int.from_bytes(start[16:24], "little")
    return 0
