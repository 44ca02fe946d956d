"""`truenet doctor` names what is broken, what is absent and for what, and its exit code tells them apart."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from truenet import modelfile
from truenet_apps import doctor, serve
from truenet_apps.main import app


def examined(expected_exit: int) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == expected_exit, result.output
    return {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_a_machine_that_can_run_this_is_in_order() -> None:
    findings = examined(0)
    assert set(doctor.NEEDED) | {"truenet", "model file", "speed"} <= set(findings)
    assert all(finding["state"] != doctor.BROKEN for finding in findings.values())
    assert findings["onnxruntime"]["found"][0].isdigit()
    assert "8 ms" in findings["speed"]["found"]


@pytest.mark.parametrize(
    ("offset", "said"), [(0, "cannot read this model file"), (-30, "bytes were changed")]
)
def test_a_damaged_model_file_is_broken(
    offset: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "truenet.onnx"
    data = bytearray(modelfile.SHIPPED_MODEL.read_bytes())
    data[offset] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(modelfile, "SHIPPED_MODEL", damaged)
    finding = examined(1)["model file"]
    assert finding["state"] == doctor.BROKEN
    assert said in finding["found"]


def test_a_missing_model_file_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelfile, "SHIPPED_MODEL", tmp_path / "none.onnx")
    assert "no such model file" in examined(1)["model file"]["found"]


def test_a_needed_package_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "broken here: soxr" in result.stderr


def test_what_one_command_needs_may_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(serve, "PAGE", tmp_path)
    findings = examined(0)
    for name, remedy in {
        "microphone": "apt install libportaudio2",
        "sound server": "pactl",
        "web page": "npm run build",
        "av": "pip install '.[av]'",
    }.items():
        assert findings[name]["state"] == doctor.ABSENT
        assert remedy in findings[name]["found"]
