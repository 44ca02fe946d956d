"""The transform in the graph is the one of NumPy."""

import numpy as np
import onnxruntime
import pytest

from truenet_export.builder import GraphBuilder
from truenet_export.fourier import Fourier


@pytest.mark.parametrize("length", [16, 96, 512])
def test_forward_is_rfft_and_inverse_takes_it_back(length: int) -> None:
    b = GraphBuilder()
    transform = Fourier(b, length)
    shape = ("batch", "frames", transform.rows, transform.columns)
    spectrum = transform.forward("frames")
    b.node("Identity", spectrum, outputs=("spectrum",))
    b.node("Identity", transform.inverse(spectrum), outputs=("back",))
    outputs = {"spectrum": ("batch", "frames", 2, length // 2), "back": shape}
    model = b.model({"frames": shape}, outputs).SerializeToString()
    session = onnxruntime.InferenceSession(model, None, ["CPUExecutionProvider"])
    frames = np.random.default_rng(0).standard_normal((2, 3, length), np.float32)
    found, back = session.run(None, {"frames": frames.reshape(2, 3, *shape[2:])})
    expected = np.fft.rfft(frames.astype(np.float64))[..., 1:]
    parts = np.stack([expected.real, expected.imag], axis=2)
    assert np.abs(found - parts).max() < 2e-6 * length**0.5
    without_dc = frames - frames.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(back.reshape(2, 3, length) / length, without_dc, atol=2e-6)
