"""Audio files written whole or not at all, and audio streamed to a pipe."""

import contextlib
import io
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import soundfile

from truenet.audio import AudioInfo
from truenet.fifo import Samples
from truenet.pcm import bits, is_lossy, quantize
from truenet.raw import RawFormat
from truenet.suffixes import SUFFIXES
from truenet.wav import CODECS, streamed_header

# libsndfile's 0 (best) to 1; these make about 200 kbit/s of stereo: a copy should cost little
COMPRESSION = {"VORBIS": 0.4, "OPUS": 0.6, "MPEG_LAYER_III": 0.2}
LARGEST_WAV_BYTES = 2**32 - 2**20  # room for the header and the tags


class AudioWriter(Protocol):
    """An open output. `clipped_samples` were louder than the file's sample type can hold."""

    clipped_samples: int

    def write(self, block: Samples) -> None:
        """Append (samples, channels)."""

    def commit(self) -> None:
        """What was written is whole."""


def choose_encoding(
    source: AudioInfo, source_suffix: str, suffix: str, subtype: str | None = None
) -> tuple[str, str]:
    """Format and subtype of an output, in libsndfile's names: those of the input wherever possible.

    Args:
        source: the input.
        source_suffix, suffix: of the names of input and output.
        subtype: what the user wants instead of the input's.

    Raises:
        ValueError: an unknown suffix, or a subtype that the format cannot hold.
    """
    same = suffix.lower() == source_suffix.lower()
    if not same and suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot write {suffix!r} files; use one of {' '.join(SUFFIXES)}")
    format_, usual = SUFFIXES[suffix.lower()] if not same else (source.format, source.subtype)
    if subtype is not None:
        if subtype not in soundfile.available_subtypes(format_):
            possible = ", ".join(soundfile.available_subtypes(format_))
            raise ValueError(f"sample type {subtype} is not for {format_}; possible are {possible}")
        return format_, subtype
    if is_lossy(usual) or is_lossy(source.subtype):
        return format_, usual
    if same or soundfile.check_format(format_, source.subtype):
        return format_, source.subtype
    if bits(source.subtype) > 16 or source.subtype in ("FLOAT", "DOUBLE"):
        usual = "PCM_24" if soundfile.check_format(format_, "PCM_24") else usual
    return format_, usual


def container_for(format_: str, subtype: str, channels: int, samples: int | None) -> str:
    """WAV, or RF64 where the samples are more than a WAV file can count."""
    width = {"FLOAT": 32, "DOUBLE": 64, "PCM_32": 32}.get(subtype, bits(subtype))
    size = (samples or 0) * channels * width // 8
    return "RF64" if format_ in ("WAV", "WAVEX") and size > LARGEST_WAV_BYTES else format_


class FileWriter:
    """A file that gets its name when `commit` is called, and leaves nothing behind without.

    It is written beside its place under a hidden name. Folders that are missing are made, and stay.

    Args:
        path: the name that it gets.
        source: the input, for rate, channels, length and tags.
        format_, subtype: libsndfile's names.

    Raises:
        ValueError: the place cannot be written, or the format cannot hold this audio.
    """

    def __init__(self, path: Path, source: AudioInfo, format_: str, subtype: str) -> None:
        self.clipped_samples = 0
        self._path = path
        self._subtype = subtype
        self._temporary = path.with_name(f".enhance-{secrets.token_hex(4)}.part")
        _make_folders(path)
        try:
            self._file = soundfile.SoundFile(
                self._temporary,
                "w",
                samplerate=source.sample_rate_hz,
                channels=source.channels,
                subtype=subtype,
                format=container_for(format_, subtype, source.channels, source.samples),
                compression_level=COMPRESSION.get(subtype),
            )
            for tag, text in source.tags.items():
                with contextlib.suppress(soundfile.LibsndfileError):  # formats differ in their tags
                    setattr(self._file, tag, text)
        except BaseException as error:  # a signal too, for nobody can close this yet
            self._discard()
            if isinstance(error, (soundfile.LibsndfileError, RuntimeError)):
                raise ValueError(_why_not(path, source, format_, subtype)) from error
            raise

    def write(self, block: Samples) -> None:
        values, clipped = quantize(block, self._subtype)
        self.clipped_samples += clipped
        try:
            self._file.write(values)
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts the count
            raise ValueError(f"{self._path}: cannot be written; is the disk full?") from error

    def commit(self) -> None:
        """Close the file and give it its name."""
        self._file.close()
        try:
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise ValueError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()


class PipeWriter:
    """Audio to a pipe, sample by sample: raw, or WAV of unknown length.

    Args:
        stream: where the bytes go; flushed after every block.
        source: the input, for rate, channels and sample type.
        raw: the format without a header; None writes WAV.
    """

    def __init__(self, stream: BinaryIO, source: AudioInfo, raw: RawFormat | None = None) -> None:
        self.clipped_samples = 0
        self._stream = stream
        self._rate_hz = source.sample_rate_hz
        self._subtype = source.subtype if source.subtype in CODECS.values() else "PCM_16"
        self._endian = "LITTLE" if raw is None else raw.endian
        if raw is None:
            header = streamed_header(source.sample_rate_hz, source.channels, self._subtype)
            stream.write(header)

    def write(self, block: Samples) -> None:
        values, clipped = quantize(block, self._subtype)
        self.clipped_samples += clipped
        encoded = io.BytesIO()
        soundfile.write(
            encoded, values, self._rate_hz, self._subtype, endian=self._endian, format="RAW"
        )
        self._stream.write(encoded.getvalue())
        self._stream.flush()

    def commit(self) -> None:
        """Nothing is left to do: what was written has gone."""


def _make_folders(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from error


def _why_not(path: Path, source: AudioInfo, format_: str, subtype: str) -> str:
    if not os.access(path.parent, os.W_OK):
        return f"{path}: cannot be written; choose another place with -o"
    return (
        f"{path}: {format_} ({subtype}) cannot hold {source.channels} channels at "
        f"{source.sample_rate_hz} Hz; choose another format, such as --format wav"
    )
