"""`truenet bench`: every file at every number of frames, and plausible numbers."""

import json

import pytest
from conftest import FLOAT32_MODEL
from typer.testing import CliRunner

import truenet_apps.bench
from truenet.modelfile import SHIPPED_MODEL
from truenet_apps.main import app


def test_files_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truenet_apps.bench, "_SECONDS_A_FILE", 0.2)
    files = [str(SHIPPED_MODEL), str(FLOAT32_MODEL)]
    arguments = ["bench", *files, "--frames", "1", "--frames", "8", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert list(found["load_ms"]) == files
    assert [(row["model"], row["frames_a_call"]) for row in found["frames"]] == [
        (file, count) for count in (1, 8) for file in files
    ]
    for row in found["frames"]:
        assert 0 < row["median_ms"] <= row["p99_ms"]
        assert row["times_real_time"] == pytest.approx(8 / row["median_ms"], rel=0.01, abs=0.06)


def test_a_missing_file_is_one_line() -> None:
    result = CliRunner().invoke(app, ["bench", "none.onnx"])
    assert result.exit_code == 1
    assert "none.onnx" in result.output
