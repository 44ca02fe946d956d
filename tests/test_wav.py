"""Headers of WAV files: read from anything, written for a stream."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from truenet.wav import CODECS, read_header, streamed_header


@pytest.mark.parametrize("subtype", CODECS.values())
@pytest.mark.parametrize("format_", ["WAV", "WAVEX", "RF64"])
def test_reads_what_libsndfile_writes(tmp_path: Path, format_: str, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((100, 3)), 44_100, subtype, format=format_)
    with path.open("rb") as file:
        header = read_header(file.read)
        assert header is not None
        assert file.tell() == header.data_offset
    assert (header.sample_rate_hz, header.channels, header.subtype) == (44_100, 3, subtype)
    if format_ != "RF64":  # its length stands elsewhere
        assert header.data_bytes == 100 * header.frame_bytes


@pytest.mark.parametrize("subtype", CODECS.values())
def test_libsndfile_reads_what_we_write(subtype: str) -> None:
    header = streamed_header(48_000, 2, subtype)
    samples = io.BytesIO()
    soundfile.write(samples, np.full((50, 2), 0.25), 48_000, subtype, format="RAW")
    audio, rate_hz = soundfile.read(io.BytesIO(header + samples.getvalue()))
    assert rate_hz == 48_000
    assert audio.shape == (50, 2)
    np.testing.assert_allclose(audio, 0.25, atol=0.01)


@pytest.mark.parametrize("unknown", [0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x7FFFF000])
def test_lengths_that_mean_unknown(unknown: int) -> None:
    header = streamed_header(16_000, 1, "PCM_16")[:-4] + unknown.to_bytes(4, "little")
    read = read_header(io.BytesIO(header).read)
    assert read is not None
    assert read.data_bytes is None


@pytest.mark.parametrize(
    "start", [b"", b"fLaC", b"RIFF", b"hello, this is no audio", b"RIFFxxxxWAVE"]
)
def test_what_is_no_wav(start: bytes) -> None:
    assert read_header(io.BytesIO(start).read) is None
