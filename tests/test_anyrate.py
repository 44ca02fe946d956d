"""Any sample rate: equal length, in step, and the input again when all faders are at one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import STAND_IN_SHARES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from truenet.anyrate import AnyRateStream, check_sample_rate
from truenet.modelfile import ModelFile
from truenet.samples import as_float

Noise = Callable[..., NDArray[np.float32]]
UNITY = np.ones((1, 3), np.float32)


def run(stream: AnyRateStream, pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([*map(stream.process, pieces), stream.flush()], axis=1)


@pytest.mark.parametrize("rate_hz", [1000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("samples", [1, 300, 20_011])
def test_faders_at_one_give_the_input_to_16_bits(noise: Noise, rate_hz: int, samples: int) -> None:
    audio = np.rint(noise(samples, 2) * 32_768).astype(np.int16)
    stream = AnyRateStream(ModelFile(), rate_hz, 2, UNITY)
    out = run(stream, [as_float(audio)])[0]
    np.testing.assert_array_equal(np.rint(out * 32_768).astype(np.int16), audio)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100])
@pytest.mark.parametrize("linked", [False, True])
def test_stems_add_up_to_the_input(noise: Noise, rate_hz: int, linked: bool) -> None:
    audio = noise(30_000, 2)
    stream = AnyRateStream(ModelFile(), rate_hz, 2, np.eye(3, dtype=np.float32), linked)
    stems = run(stream, list(stream.split(audio)))
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)
    assert np.abs(stems).max(axis=(1, 2)).min() > 0


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_what_is_kept_is_in_step_in_every_band(stand_in: Path, noise: Noise, rate_hz: int) -> None:
    audio = noise(30_000, 1)
    stream = AnyRateStream(ModelFile(stand_in), rate_hz, 1, np.array([[1, 0, 0]], np.float32))
    out = run(stream, list(stream.split(audio)))[0]
    np.testing.assert_allclose(out, STAND_IN_SHARES[0] * audio, atol=2e-4)


@settings(max_examples=20)
@given(
    cuts=st.lists(st.integers(0, 12_000), max_size=8),
    rate_hz=st.sampled_from([8000, 16_000, 44_100, 48_000]),
)
def test_cuts_do_not_matter(stand_in: Path, noise: Noise, cuts: list[int], rate_hz: int) -> None:
    audio, faders = noise(12_000, 1), np.array([[1, 0.5, 0]], np.float32)
    model = ModelFile(stand_in)
    whole = run(AnyRateStream(model, rate_hz, 1, faders), [audio])
    parts = run(AnyRateStream(model, rate_hz, 1, faders), np.split(audio, sorted(cuts)))
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_what_waits_inside_does_not_grow(stand_in: Path, noise: Noise) -> None:
    stream = AnyRateStream(ModelFile(stand_in), 48_000, 1, UNITY)
    block = noise(4_800, 1)
    missing = 0
    for _ in range(100):
        missing += len(block) - stream.process(block).shape[1]
        assert missing < 0.5 * 48_000


@pytest.mark.parametrize("rate_hz", [0, -16_000, 999, 2_000_000, float("nan")])
def test_rates_that_no_recording_has(rate_hz: float) -> None:
    with pytest.raises(ValueError, match=r"sample rate of .* Hz: possible are"):
        check_sample_rate(rate_hz)
