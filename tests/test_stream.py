"""The model in whole frames: rows keep to themselves, mixes have their own faders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import STAND_IN_SHARES
from numpy.typing import NDArray

from truenet.modelfile import ModelFile
from truenet.stream import FrameStream

Noise = Callable[..., NDArray[np.float32]]


def test_each_mix_has_its_own_faders(stand_in: Path, noise: Noise) -> None:
    audio = noise(128 * 50, 2)
    stream = FrameStream(ModelFile(stand_in), 2, np.eye(3, dtype=np.float32))
    mixes = stream.process(audio)
    for mix, share in zip(mixes, STAND_IN_SHARES, strict=True):
        np.testing.assert_allclose(mix[384:], share * audio[:-384], rtol=1e-6)


def test_channels_and_calls_do_not_matter(noise: Noise) -> None:
    audio, faders = noise(128 * 40, 2), np.array([[1, 0.2, 0]], np.float32)
    model = ModelFile()
    together = FrameStream(model, 2, faders).process(audio)
    for channel in range(2):
        alone = FrameStream(model, 1, faders)
        pieces = np.split(audio[:, channel : channel + 1], [128, 128 * 8])
        apart = np.concatenate([alone.process(piece) for piece in pieces], axis=1)
        np.testing.assert_allclose(apart[..., 0], together[..., channel], atol=1e-5)


def test_no_frames(stand_in: Path) -> None:
    stream = FrameStream(ModelFile(stand_in), 2, np.eye(3, dtype=np.float32))
    assert stream.process(np.zeros((0, 2), np.float32)).shape == (3, 0, 2)
