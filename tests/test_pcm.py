"""From floats to the sample types of files."""

import io

import numpy as np
import pytest
import soundfile

from truenet.pcm import quantize

INTEGERS = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}


@pytest.mark.parametrize(("subtype", "bits"), INTEGERS.items())
def test_every_step_comes_back_to_the_bit(subtype: str, bits: int) -> None:
    steps = np.linspace(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 2**12).astype(np.int64)
    error = np.float32(0.2 * 2.0 ** (1 - bits)) if bits < 24 else np.float32(0)
    values, clipped = quantize((steps / 2.0 ** (bits - 1) - error).astype(np.float32), subtype)
    file = io.BytesIO()
    soundfile.write(file, values, 16_000, subtype, format="WAV")
    file.seek(0)
    back, _ = soundfile.read(file)
    np.testing.assert_array_equal(back * 2.0 ** (bits - 1), steps)
    assert clipped == 0


@pytest.mark.parametrize("subtype", [*INTEGERS, "PCM_32", "ULAW", "VORBIS"])
def test_clipped_samples_are_counted(subtype: str) -> None:
    values, clipped = quantize(np.array([-1.5, -1.0, 0.0, 0.9, 1.5], np.float32), subtype)
    assert clipped == 2
    if subtype != "VORBIS":  # a coder's business
        assert values[0] == values[1] < 0 < values[3] < values[4]


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_pass(subtype: str) -> None:
    loud = np.array([-9.0, 1e-9], np.float32)
    values, clipped = quantize(loud, subtype)
    assert clipped == 0
    np.testing.assert_array_equal(values, loud)
