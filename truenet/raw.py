"""Samples without a header, described in one word: s16le,16000,1."""

import dataclasses
from typing import Self

from truenet.anyrate import check_sample_rate
from truenet.samples import MOST_CHANNELS

KINDS = {  # ffmpeg's names: libsndfile's subtype and endianness
    "u8": ("PCM_U8", "LITTLE"),
    "s16le": ("PCM_16", "LITTLE"),
    "s16be": ("PCM_16", "BIG"),
    "s24le": ("PCM_24", "LITTLE"),
    "s24be": ("PCM_24", "BIG"),
    "s32le": ("PCM_32", "LITTLE"),
    "s32be": ("PCM_32", "BIG"),
    "f32le": ("FLOAT", "LITTLE"),
    "f32be": ("FLOAT", "BIG"),
    "f64le": ("DOUBLE", "LITTLE"),
    "f64be": ("DOUBLE", "BIG"),
    "mulaw": ("ULAW", "LITTLE"),
    "alaw": ("ALAW", "LITTLE"),
}


@dataclasses.dataclass(frozen=True)
class RawFormat:
    """Type (libsndfile's subtype and endianness), rate and channels of samples without a header."""

    subtype: str
    endian: str
    sample_rate_hz: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type,rate,channels`, such as s16le,16000,1; types are named as in ffmpeg.

        Raises:
            ValueError: anything else.
        """
        parts = text.split(",")
        if len(parts) == 3 and parts[0] in KINDS and parts[1].isdigit() and parts[2].isdigit():
            check_sample_rate(int(parts[1]))
            if 1 <= int(parts[2]) <= MOST_CHANNELS:
                return cls(*KINDS[parts[0]], int(parts[1]), int(parts[2]))
        raise ValueError(
            f"raw format {text!r}: give type,rate,channels such as s16le,16000,1; "
            f"types: {', '.join(KINDS)}"
        )
