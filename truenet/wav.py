"""The header of a WAV file, read from anything that can be read once, and written for a length that
nobody knows.

libsndfile reads WAV too, but says neither that a file was cut off nor, on a pipe, where the audio
ends.
"""

import dataclasses
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODECS = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
EXTENSIBLE = 0xFFFE
UNKNOWN_BYTES = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class WavHeader:
    """What stands before the samples. `data_bytes` is None where the writer did not know the
    length; `subtype` is libsndfile's name, or None for codecs other than plain PCM, float, A-law
    and µ-law.
    """

    sample_rate_hz: int
    channels: int
    subtype: str | None
    frame_bytes: int
    bytes_a_second: int
    data_bytes: int | None
    data_offset: int


def read_header(read: Callable[[int], bytes]) -> WavHeader | None:
    """Read up to the first sample; None where it is no WAV header.

    Args:
        read: returns as many bytes as asked for, fewer at the end.
    """
    magic = read(12)
    if magic[:4] not in (b"RIFF", b"RF64") or magic[8:] != b"WAVE":
        return None
    offset, layout = 12, b""
    while True:
        chunk = read(8)
        if len(chunk) < 8:
            return None
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        offset += 8
        if name == b"data":
            return _header(layout, size, offset)
        body = read(size + size % 2)
        offset += len(body)
        if name == b"fmt ":
            layout = body


def _header(layout: bytes, data_bytes: int, offset: int) -> WavHeader | None:
    if len(layout) < 16:
        return None
    codec, channels, rate_hz, bytes_a_second, frame_bytes, bits = struct.unpack(
        "<HHIIHH", layout[:16]
    )
    if codec == EXTENSIBLE and len(layout) >= 26:
        codec = struct.unpack("<H", layout[24:26])[0]
    return WavHeader(
        sample_rate_hz=rate_hz,
        channels=channels,
        subtype=CODECS.get((codec, bits)),
        frame_bytes=frame_bytes,
        bytes_a_second=bytes_a_second,
        data_bytes=None if _is_unknown(data_bytes) else data_bytes,
        data_offset=offset,
    )


def _is_unknown(data_bytes: int) -> bool:
    """Writers to pipes put 0, or about the most that 31 or 32 bits hold, for what they know not."""
    return data_bytes == 0 or any(limit - 4096 <= data_bytes <= limit for limit in (2**31, 2**32))


def streamed_header(sample_rate_hz: int, channels: int, subtype: str) -> bytes:
    """The header of a WAV stream of unknown length, as ffmpeg writes it to a pipe.

    Args:
        subtype: one of the values of `CODECS`.
    """
    codec, bits = next(key for key, name in CODECS.items() if name == subtype)
    frame_bytes = channels * bits // 8
    layout = struct.pack(
        "<HHIIHH", codec, channels, sample_rate_hz, sample_rate_hz * frame_bytes, frame_bytes, bits
    )
    sizes = struct.pack("<I", UNKNOWN_BYTES)
    return b"RIFF" + sizes + b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + sizes


class UnclosedWav(io.FileIO):
    """A WAV file whose header holds no length, seen as one of the greatest length.

    Args:
        file: path or file descriptor.
        length_at: where the length stands; None leaves everything as it is.
    """

    def __init__(self, file: Path | int, length_at: int | None) -> None:
        super().__init__(file, "rb", closefd=not isinstance(file, int))
        self._length_at = length_at

    def readinto(self, buffer: Any) -> int:
        start = self.tell()
        count = super().readinto(buffer) or 0
        if self._length_at is not None:
            view = memoryview(buffer).cast("B")
            for place in range(self._length_at, self._length_at + 4):
                if 0 <= place - start < count:
                    view[place - start] = 0xFF
        return count
