"""`truenet live` where something is missing: each is a line that says what to do."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import write_stand_in
from typer.testing import CliRunner

from truenet.enhancer import Enhancer
from truenet_apps.live_devices import Device
from truenet_apps.live_engine import LiveEngine
from truenet_apps.live_streams import Streams
from truenet_apps.main import app

command = importlib.import_module("truenet_apps.live")
MICROPHONE = Device("Microphone", "ALSA", 0, 1, 48_000)


def complaint(*options: str) -> str:
    result = CliRunner().invoke(app, ["live", *options])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize(("platform", "cable"), [("darwin", "BlackHole"), ("win32", "VB-CABLE")])
def test_where_there_is_no_virtual_microphone_a_cable_is_named(
    platform: str, cable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "sys", SimpleNamespace(platform=platform))
    said = complaint("--virtual-microphone")
    assert cable in said
    assert "--output" in said
    assert cable in CliRunner().invoke(app, ["live", "--help"]).stdout


def test_a_virtual_microphone_is_an_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "sys", SimpleNamespace(platform="linux"))
    assert "leave out --output" in complaint("--virtual-microphone", "--output", "speaker")


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install '.[live]'" in complaint()


def test_without_portaudio_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "apt install libportaudio2" in complaint()


def test_a_device_that_does_not_open_is_said_with_what_may_be_the_reason(tmp_path: Path) -> None:
    class PortAudioError(Exception):
        pass

    def refuse(**_options: object) -> None:
        raise PortAudioError("Invalid sample rate")

    sounddevice = SimpleNamespace(InputStream=refuse, PortAudioError=PortAudioError)
    model = Enhancer(write_stand_in(tmp_path / "model.onnx"), whole_frames=True)
    with pytest.raises(ValueError, match="Invalid sample rate") as error:
        Streams(sounddevice, LiveEngine(model, 48_000, 48_000, 0.02), MICROPHONE, MICROPHONE)
    for words in ("another program", "privacy", "is the rate right", "--list-devices"):
        assert words in str(error.value)
