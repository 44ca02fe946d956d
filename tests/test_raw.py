"""Raw formats in one word."""

import pytest

from truenet.raw import KINDS, RawFormat


@pytest.mark.parametrize(("kind", "meaning"), KINDS.items())
def test_every_kind(kind: str, meaning: tuple[str, str]) -> None:
    assert RawFormat.parse(f"{kind},8000,2") == RawFormat(*meaning, 8000, 2)


@pytest.mark.parametrize(
    "text",
    ["", "s16le", "s16le,16000", "s16,16000,1", "s16le,fast,1", "s16le,16000,0", "u8,16000,-1"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"give type,rate,channels such as s16le,16000,1; types: u8"
    ):
        RawFormat.parse(text)


def test_a_rate_that_no_recording_has() -> None:
    with pytest.raises(ValueError, match="a sample rate of 0 Hz"):
        RawFormat.parse("s16le,0,1")
