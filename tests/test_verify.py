"""`truenet verify` says yes to a file as exported, and names what is wrong with any other."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import write_stand_in
from typer.testing import CliRunner

from truenet.modelfile import SHIPPED_MODEL
from truenet.verification import CHECKSUM_KEY, SCORE_KEY, Check, sealed, verify
from truenet.weights import load_weights, save_weights
from truenet_apps.main import app
from truenet_export.parity import parity
from truenet_export.seal import seal

WEIGHTS = SHIPPED_MODEL.with_suffix(".safetensors")


def failed(path: Path) -> set[str]:
    return {check.name for check in verify(path) if not check.passed} - {"speed"}  # busy machines


@pytest.fixture
def stand_in_sealed(tmp_path: Path) -> Path:
    """A sound file of another model: all checks pass."""
    path = write_stand_in(tmp_path / "m.onnx", weights_sha256="a" * 64)
    seal(onnx.load(path), path)
    return path


def test_the_shipped_small_file_is_in_order() -> None:
    result = CliRunner().invoke(app, ["verify", str(SHIPPED_MODEL), "--weights", str(WEIGHTS)])
    assert "FAILED" not in result.output.replace("FAILED  speed", "")
    assert "parity" in result.output


def test_as_json(stand_in_sealed: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(stand_in_sealed), "--json"])
    names = [Check(**entry).name for entry in json.loads(result.stdout)]
    assert {"checksum", "metadata", "faders at one", "pieces", "score", "speed"} <= set(names)


def test_a_sealed_file_is_in_order(stand_in_sealed: Path) -> None:
    assert failed(stand_in_sealed) == set()


def test_one_changed_byte_is_noticed(stand_in_sealed: Path) -> None:
    data = stand_in_sealed.read_bytes()
    stand_in_sealed.write_bytes(data.replace(b"stand-in", b"stamd-in"))
    assert "checksum" in failed(stand_in_sealed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({SCORE_KEY: "30.0"}, {"score"}),
        ({SCORE_KEY: ""}, {"score"}),
        ({CHECKSUM_KEY: ""}, {"checksum"}),
        ({"state_layout": '[["delay", 1]]'}, {"metadata"}),
        ({"latency_samples": "256"}, {"metadata", "faders at one", "score"}),
    ],
)
def test_what_is_wrong_is_named(
    stand_in_sealed: Path, changes: dict[str, str], expected: set[str]
) -> None:
    graph = onnx.load(stand_in_sealed)
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    entries |= {CHECKSUM_KEY: "0" * 64} | changes
    onnx.helper.set_model_props(graph, {key: value for key, value in entries.items() if value})
    data = graph.SerializeToString()
    stand_in_sealed.write_bytes(data if CHECKSUM_KEY in changes else sealed(data))
    assert failed(stand_in_sealed) == expected


def test_wrong_faders_are_noticed(tmp_path: Path) -> None:
    path = write_stand_in(tmp_path / "m.onnx", weights_sha256="a" * 64, shares=(0.9, 0, 0))
    seal(onnx.load(path), path)
    assert failed(path) == {"faders at one"}
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 1
    assert "not in order (faders at one" in result.output


def test_parity_with_other_weights_fails(tmp_path: Path) -> None:
    model, facts = load_weights(WEIGHTS)
    other = tmp_path / "other.safetensors"
    save_weights(model, other, {**facts, "commit": "another"})
    check = parity(SHIPPED_MODEL, other)
    assert not check.passed
    assert "not made from other" in check.found


def test_a_checksum_has_one_place() -> None:
    with pytest.raises(ValueError, match="one checksum"):
        sealed(b"0" * 128)
    assert dataclasses.is_dataclass(Check)
    assert len(sealed(b"x" + b"0" * 64)) == 65


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 1
    assert "cannot read this model file" in result.output
