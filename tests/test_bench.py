"""`truenet bench`: every file at every number of frames, peers at one, and plausible numbers."""

import json
from pathlib import Path

import pytest
from conftest import FLOAT32_MODEL
from typer.testing import CliRunner

import truenet_apps.bench
from truenet.modelfile import SHIPPED_MODEL
from truenet_apps.main import app
from truenet_export.builder import GraphBuilder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truenet_apps.bench, "_SECONDS_A_FILE", 0.2)


def peer_file(path: Path, size: int | str = 8, feeds_back: bool = True) -> Path:
    """A graph with a signal and one state, which counts up."""
    b = GraphBuilder()
    b.node("Add", "state", b.floats([1.0]), outputs=("next",))
    b.node("Mul", "x", "state", outputs=("y",))
    outputs = {"y": [1, size], "next": [1, 1]} if feeds_back else {"y": [1, size]}
    model = b.model({"x": [1, size], "state": [1, 1]}, outputs)
    path.write_bytes(model.SerializeToString())
    return path


def test_files_side_by_side(tmp_path: Path) -> None:
    files = [str(SHIPPED_MODEL), str(FLOAT32_MODEL)]
    other = peer_file(tmp_path / "other.onnx")
    peers = ["--peer", f"gtcrn={other}", "--peer", f"dtln={other},{other}"]
    arguments = ["bench", *files, "--frames", "1", "--frames", "8", "--json", *peers]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert 0 < found["share_of_a_core"] < 1.1
    assert list(found["load_ms"]) == [*files, "gtcrn", "dtln"]
    expected = [(name, 1) for name in (*files, "gtcrn", "dtln")] + [(file, 8) for file in files]
    assert [(row["model"], row["frames_a_call"]) for row in found["frames"]] == expected
    for row in found["frames"]:
        assert 0 < row["median_ms"] <= row["p99_ms"]
        assert 0 < row["median_processor_ms"] < 1.1 * row["median_ms"]
        assert row["frame_ms"] == (16 if row["model"] == "gtcrn" else 8)
        speed = row["frame_ms"] / row["median_ms"]
        assert row["times_real_time"] == pytest.approx(speed, rel=0.01, abs=0.06)


def test_states_of_a_peer_go_back_into_it(tmp_path: Path) -> None:
    from truenet_apps.bench_peers import PeerGraphs

    peer = PeerGraphs(f"fastenhancer={peer_file(tmp_path / 'other.onnx')}")
    peer.run(3)
    assert peer.graphs[0].states["state"].item() == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("unknown=other.onnx", "a name of gtcrn, dtln, fastenhancer"),
        ("gtcrn", "NAME=FILE.onnx"),
        ("gtcrn=none.onnx", "no file none.onnx"),
        ("gtcrn=dynamic.onnx", "no float array of fixed shape"),
        ("gtcrn=stateless.onnx", "1 outputs for 1 states"),
    ],
)
def test_peers_that_cannot_be_run_are_one_line(
    given: str, message: str, working_folder: Path
) -> None:
    peer_file(Path("dynamic.onnx"), "frames")
    peer_file(Path("stateless.onnx"), feeds_back=False)
    result = CliRunner().invoke(app, ["bench", "--peer", given])
    assert result.exit_code == 1
    assert message in result.output


def test_a_missing_file_is_one_line() -> None:
    result = CliRunner().invoke(app, ["bench", "none.onnx"])
    assert result.exit_code == 1
    assert "none.onnx" in result.output
