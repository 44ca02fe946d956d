"""Fixtures that several test files share."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

STAND_IN_SHARES = (0.5, 0.25, 0.25)


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
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT

    def constant(name: str, values: NDArray[Any]) -> Any:
        return onnx.numpy_helper.from_array(values, name)

    constants = [
        constant("shares", np.array(shares, np.float32).reshape(3, 1)),
        constant("zero", np.array([0])),
        constant("end", np.array([2**40])),
        constant("minus_latency", np.array([-latency_samples])),
        constant("last_axis", np.array([1])),
    ]
    nodes = [
        helper.make_node("MatMul", ["faders", "shares"], ["gain"]),
        helper.make_node("Concat", ["state", "audio"], ["line"], axis=1),
        helper.make_node("Slice", ["line", "zero", "minus_latency", "last_axis"], ["late"]),
        helper.make_node("Slice", ["line", "minus_latency", "end", "last_axis"], ["next_state"]),
        helper.make_node("Mul", ["late", "gain"], ["enhanced"]),
    ]
    shapes = {"audio": "samples", "state": latency_samples, "faders": 3}
    results = {"next_state": latency_samples, "enhanced": "samples"}
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [helper.make_tensor_value_info(name, floats, ["batch", n]) for name, n in shapes.items()],
        [helper.make_tensor_value_info(name, floats, ["batch", n]) for name, n in results.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
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
    helper.set_model_props(model, {key: value for key, value in entries.items() if value})
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
