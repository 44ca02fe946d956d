"""Fixtures that several test files share."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.config import TRUNetConfig
from truenet.modelfile import SHIPPED_MODEL

FLOAT32_MODEL = SHIPPED_MODEL.with_name("truenet_float32.onnx")  # the weights before rounding
STAND_IN_SHARES = (0.5, 0.25, 0.25)
# Else `truenet train` and `adapt` would start pytest anew.
os.environ.setdefault("GLIBC_TUNABLES", "")
# A shell's background job ignores Ctrl-C, and so would the commands that tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples for the same code, however slow the machine, so that what fails is the change;
# --hypothesis-profile=default looks for new ones.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")
TINY = TRUNetConfig(
    encoder_channels=(4, 8, 8, 8, 8, 8),
    frequency_gru_units=4,
    time_gru_units=8,
    bottleneck_channels=8,
    decoder_channels=(8, 8, 8, 8, 8),
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of training and validation audio; tests that need it are skipped where it is not
    at hand.

    It lies beside the repository (`../shared/data`); TRUENET_DATA names another place.
    """
    folder = Path(os.environ.get("TRUENET_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}; set TRUENET_DATA to where it is")
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of known behaviour: half voice, a quarter room, a quarter noise."""
    return write_stand_in(tmp_path_factory.mktemp("model") / "stand_in.onnx")


def write_stand_in(
    path: Path,
    hop_samples: int = 128,
    latency_samples: int = 384,
    shares: tuple[float, float, float] = STAND_IN_SHARES,
    **metadata: str,
) -> Path:
    """Write a model that keeps the contract of the model file without any weights.

    Its output is the input, `latency_samples` later, times Σ share · fader. `metadata` replaces
    entries of the file's own; an empty value removes one.
    """
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a stand-in model")
    from truenet_export.builder import GraphBuilder

    b = GraphBuilder()
    gain = b.node("MatMul", "faders", b.constant(np.array(shares, np.float32).reshape(3, 1)))
    line = b.node("Concat", "state", "audio", axis=1)
    b.node("Mul", b.slice(line, 1, 0, -latency_samples), gain, outputs=("enhanced",))
    end = (b.integers(-latency_samples), b.integers(2**40), b.integers(1))
    b.node("Slice", line, *end, outputs=("next_state",))
    signal, state = ("batch", "samples"), ("batch", latency_samples)
    model = b.model(
        {"audio": signal, "state": state, "faders": ("batch", 3)},
        {"enhanced": signal, "next_state": state},
    )
    entries = {
        "truenet_format": "1",
        "name": "stand-in",
        "version": "0",
        "licence": "Apache-2.0",
        "sample_rate_hz": "16000",
        "hop_samples": str(hop_samples),
        "window_samples": str(hop_samples + latency_samples),
        "latency_samples": str(latency_samples),
        "state_size": str(latency_samples),
        "state_layout": json.dumps([["delay", latency_samples]]),
        "precision": "float32",
        "training_data": "none",
        "weights_sha256": "none",
        "scores": "{}",
    } | metadata
    onnx.helper.set_model_props(model, {key: value for key, value in entries.items() if value})
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def noise() -> Callable[..., NDArray[np.float32]]:
    """Seeded noise of a shape, at −20 dBFS."""

    def make(*shape: int, seed: int = 0) -> NDArray[np.float32]:
        generator = np.random.default_rng(seed)
        return (0.1 * generator.standard_normal(shape)).astype(np.float32)

    return make


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working folder during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
