"""One mask for all channels: the identity stays one, and the image stays in its place."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.linked import LinkedMask
from truenet.modelfile import ModelFile
from truenet.stream import FrameStream

Noise = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize("frames_a_call", [1, 3, 40])
def test_an_output_that_is_the_input_comes_out_delayed(noise: Noise, frames_a_call: int) -> None:
    audio = noise(40 * 128, 3)
    mask = LinkedMask(512, 128)
    step = 128 * frames_a_call
    pieces = [audio[start : start + step] for start in range(0, len(audio), step)]
    out = np.concatenate([mask.process(piece, piece[np.newaxis])[0] for piece in pieces])
    late = mask.latency_samples
    np.testing.assert_allclose(out[late:], audio[:-late], atol=1e-6)
    np.testing.assert_allclose(out[:late], 0, atol=1e-6)


def test_silence_stays_silent() -> None:
    silence = np.zeros((1280, 2), np.float32)
    assert not np.any(LinkedMask(512, 128).process(silence, silence[np.newaxis]))


@pytest.mark.parametrize("ratio", [0.3, -1.0], ids=["panned", "out of phase"])
def test_level_ratio_of_the_channels_is_kept(noise: Noise, ratio: float) -> None:
    left = noise(32_000)
    audio = np.stack([left, ratio * left], axis=1)
    stream = FrameStream(ModelFile(), 2, np.array([[1, 0, 0]], np.float32), linked=True)
    out = stream.process(audio)[0]
    np.testing.assert_allclose(out[:, 1], ratio * out[:, 0], atol=1e-6)
    assert np.abs(out).max() > 1e-3


def test_the_stems_add_up(noise: Noise) -> None:
    audio = noise(16_000, 2)
    stream = FrameStream(ModelFile(), 2, np.eye(3, dtype=np.float32), linked=True)
    late = stream.latency_samples
    total = stream.process(audio).sum(axis=0)
    np.testing.assert_allclose(total[late:], audio[:-late], atol=1e-5)
