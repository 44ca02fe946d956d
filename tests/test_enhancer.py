"""`Enhancer`: exact lengths and latency, faders without clicks, nothing that poisons the stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_stand_in
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from truenet import Enhancer
from truenet.modelfile import ModelFile

Noise = Callable[..., NDArray[np.float32]]
UNITY: dict[str, Any] = {"voice_db": 0.0, "room_db": 0.0, "noise_db": 0.0}


def stream(enhancer: Enhancer, audio: NDArray[Any], block: int) -> NDArray[np.float32]:
    """The audio in blocks, then what is left, without the silence at the start."""
    pieces = [
        enhancer.process(audio[start : start + block]) for start in range(0, len(audio), block)
    ]
    return np.concatenate([*pieces, enhancer.flush()])[enhancer.latency_samples :]


@pytest.mark.parametrize("block", [1, 17, 127, 128, 129, 4096])
@pytest.mark.parametrize("shape", [(4500,), (4500, 2)])
def test_faders_at_one_return_the_input_latency_samples_later(
    noise: Noise, block: int, shape: tuple[int, ...]
) -> None:
    audio = noise(*shape)
    enhancer = Enhancer(**UNITY)
    assert enhancer.latency_samples == 384 + 127
    np.testing.assert_allclose(stream(enhancer, audio, block), audio, atol=1e-5)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_every_block_returns_as_many_samples_and_cuts_do_not_matter(
    stand_in: Path, noise: Noise, cuts: list[int]
) -> None:
    audio = noise(3000)
    whole = Enhancer(stand_in).process(audio)
    enhancer = Enhancer(stand_in)
    pieces = np.split(audio, sorted(cuts))
    answers = [enhancer.process(piece) for piece in pieces]
    assert [len(answer) for answer in answers] == [len(piece) for piece in pieces]
    np.testing.assert_array_equal(np.concatenate(answers), whole)


@pytest.mark.parametrize("block", [1, 128, 1000])
def test_cuts_do_not_matter_with_the_real_model(noise: Noise, block: int) -> None:
    audio = noise(6000)
    whole = stream(Enhancer(), audio, 6000)
    np.testing.assert_allclose(stream(Enhancer(), audio, block), whole, atol=1e-5)


def test_whole_frames_cost_less_delay(noise: Noise) -> None:
    audio = noise(1280)
    enhancer = Enhancer(whole_frames=True, **UNITY)
    assert enhancer.latency_samples == 384
    np.testing.assert_allclose(stream(enhancer, audio, 256), audio, atol=1e-5)
    with pytest.raises(ValueError, match=r"block of 100 samples: .* multiples of 128"):
        enhancer.process(audio[:100])


def test_lengths_come_from_the_model_file(tmp_path: Path, noise: Noise) -> None:
    path = write_stand_in(tmp_path / "small.onnx", hop_samples=64, latency_samples=64)
    enhancer = Enhancer(path, **UNITY)
    assert enhancer.latency_samples == 64 + 63
    audio = noise(1000)
    np.testing.assert_allclose(stream(enhancer, audio, 77), audio, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_linked_channels_report_their_delay(noise: Noise, channels: int) -> None:
    audio = noise(3000, channels)
    enhancer = Enhancer(linked=True, **UNITY)
    np.testing.assert_allclose(stream(enhancer, audio, 200), audio, atol=1e-5)


def test_faders_count_from_the_next_frame(stand_in: Path, noise: Noise) -> None:
    audio = noise(1024)
    enhancer = Enhancer(stand_in, whole_frames=True, **UNITY)
    enhancer.process(audio[:512])
    enhancer.voice_db = enhancer.room_db = -np.inf
    enhancer.noise_db = 20.0
    out = enhancer.process(audio[512:])
    np.testing.assert_allclose(out, 0.25 * 10 * audio[128:640], rtol=1e-5)
    assert (enhancer.voice_db, enhancer.noise_db) == (-np.inf, 20.0)


def test_a_fader_out_of_range_changes_nothing(stand_in: Path) -> None:
    enhancer = Enhancer(stand_in)
    with pytest.raises(ValueError, match="noise fader at nan dB"):
        enhancer.noise_db = float("nan")
    assert enhancer.noise_db == Enhancer(stand_in).noise_db
    with pytest.raises(ValueError, match="voice fader at 99"):
        Enhancer(stand_in, voice_db=99)


def test_moving_all_faders_does_not_click() -> None:
    time = np.arange(16_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    enhancer = Enhancer(whole_frames=True, **UNITY)
    first = enhancer.process(tone[:8064])
    enhancer.voice_db = enhancer.room_db = enhancer.noise_db = -np.inf
    out = np.concatenate([first, enhancer.process(tone[8064:15_872])])
    # a click is a step from one sample to the next; the tone itself moves by 0.04 at most
    steepest = np.abs(np.diff(tone)).max()
    assert np.abs(np.diff(out)).max() < 1.2 * steepest
    np.testing.assert_allclose(out[9000:], 0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_samples_are_silenced_counted_and_found(noise: Noise, bad: float) -> None:
    audio = noise(4000, 2)
    silenced = audio.copy()
    silenced[1500, 1] = silenced[2000, 0] = 0
    audio[1500, 1] = audio[2000, 0] = bad
    enhancer = Enhancer()
    with pytest.warns(RuntimeWarning, match="sample 1500 of channel 1 is NaN, infinite"):
        out = stream(enhancer, audio, 1000)
    assert enhancer.bad_samples == 2
    assert enhancer.first_bad_sample == (1500, 1)
    np.testing.assert_array_equal(out, stream(Enhancer(), silenced, 1000))


def test_reset_starts_anew(noise: Noise) -> None:
    audio = noise(3000)
    enhancer = Enhancer()
    fresh = enhancer.process(audio)
    assert not np.array_equal(enhancer.process(audio), fresh)
    enhancer.reset()
    np.testing.assert_array_equal(enhancer.process(audio), fresh)
    enhancer.flush()
    np.testing.assert_array_equal(enhancer.process(audio), fresh)


def test_channels_stay_the_same_in_a_stream(stand_in: Path, noise: Noise) -> None:
    enhancer = Enhancer(stand_in)
    enhancer.process(noise(100))
    with pytest.raises(ValueError, match=r"block of shape \(100, 2\) in a stream of mono"):
        enhancer.process(noise(100, 2))
    enhancer.reset()
    assert enhancer.process(noise(100, 2)).shape == (100, 2)


def test_nothing_to_flush(stand_in: Path) -> None:
    assert Enhancer(stand_in).flush().shape == (0,)


@pytest.mark.parametrize("shape", [(1,), (1, 7), (0,), (0, 2), (511,), (8000, 7)])
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_arrays_of_any_shape(
    stand_in: Path, noise: Noise, shape: tuple[int, ...], rate_hz: int
) -> None:
    audio = noise(*shape)
    out = Enhancer(stand_in, **UNITY).enhance(audio, rate_hz)
    assert out.dtype == np.float32
    assert out.shape == shape
    np.testing.assert_allclose(out, audio, atol=1e-6)


def test_arrays_of_integers(stand_in: Path, noise: Noise) -> None:
    audio = (noise(2000) * 32_768).astype(np.int16)
    out = Enhancer(stand_in, **UNITY).enhance(audio, 16_000)
    np.testing.assert_array_equal(out * 32_768, audio)


def test_an_array_is_the_stream(noise: Noise) -> None:
    audio = noise(8000)
    np.testing.assert_allclose(
        Enhancer().enhance(audio, 16_000), stream(Enhancer(), audio, 999), atol=1e-5
    )


def test_bad_samples_in_an_array(stand_in: Path, noise: Noise) -> None:
    audio = noise(48_000)
    audio[30_000] = np.nan
    enhancer = Enhancer(stand_in)
    with pytest.warns(RuntimeWarning, match="sample 30000 of channel 0"):
        out = enhancer.enhance(audio, 48_000)
    assert np.all(np.isfinite(out))
    assert (enhancer.bad_samples, enhancer.first_bad_sample) == (1, (30_000, 0))


def test_one_model_serves_many_streams(noise: Noise) -> None:
    model, audio = ModelFile(), noise(2000)
    first, second = Enhancer(model), Enhancer(model)
    out = first.process(audio[:1000])
    second.process(noise(1000, seed=1))
    again = Enhancer(model).process(audio)
    np.testing.assert_allclose(np.concatenate([out, first.process(audio[1000:])]), again, atol=1e-5)


@pytest.mark.parametrize(
    "audio",
    [
        np.full(16_000, 0.5, np.float32),
        np.full(16_000, 10 ** (-90 / 20), np.float32),
        np.sign(np.sin(np.arange(16_000))).astype(np.float32),
        np.full(16_000, 1e-40, np.float32),
        np.full(16_000, 1e5, np.float32),
    ],
    ids=["DC", "−90 dBFS", "full-scale clipping", "denormals", "100 dB too loud"],
)
def test_extreme_sound_stays_finite(audio: NDArray[np.float32]) -> None:
    out = Enhancer().enhance(audio, 16_000)
    assert np.all(np.isfinite(out))
    assert np.abs(out).max() <= 4 * np.abs(audio).max()
