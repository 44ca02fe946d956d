"""The model file: constants from its metadata, and clear words about files that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_stand_in

from truenet.modelfile import SHIPPED_MODEL, ModelFile


def test_constants_come_from_the_metadata(tmp_path: Path) -> None:
    path = write_stand_in(tmp_path / "other.onnx", hop_samples=64, latency_samples=192)
    info = ModelFile(path).info
    assert (info.hop_samples, info.latency_samples, info.state_size) == (64, 192, 192)
    assert info.scores == {}


def test_the_shipped_model_keeps_the_contract() -> None:
    model = ModelFile()
    frames = np.zeros((2, 3 * model.info.hop_samples), np.float32)
    enhanced, state = model.run(frames, model.first_state(2), np.ones((2, 3), np.float32))
    assert enhanced.shape == frames.shape
    assert state.shape == (2, model.info.state_size)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"truenet_format": ""}, "not a truenet model .*truenet export"),
        ({"truenet_format": "2"}, "model format 2.*reads formats up to 1.*pip install -U truenet"),
        ({"truenet_format": "new"}, "metadata is incomplete or damaged"),
        ({"window_samples": ""}, "metadata is incomplete or damaged: KeyError"),
        ({"scores": "{"}, "metadata is incomplete or damaged"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    path = write_stand_in(tmp_path / "odd.onnx", **metadata)
    with pytest.raises(ValueError, match=message):
        ModelFile(path)


@pytest.mark.parametrize("kept_bytes", [0, 100, 100_000])
def test_a_truncated_file(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(SHIPPED_MODEL.read_bytes()[:kept_bytes])
    with pytest.raises(ValueError, match=r"half.onnx: .*cannot read|half.onnx: .*not a truenet"):
        ModelFile(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.onnx: there is no such model file"):
        ModelFile(tmp_path / "none.onnx")


def test_a_graph_with_other_inputs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a model")
    path = write_stand_in(tmp_path / "renamed.onnx")
    model = onnx.load(str(path))
    model.graph.input[0].name = model.graph.node[1].input[1] = "samples"
    onnx.save(model, str(path))
    with pytest.raises(ValueError, match=r"inputs \['faders', 'samples', 'state'\]"):
        ModelFile(path)
