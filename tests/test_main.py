"""The `truenet` command: help that loads nothing heavy, errors in one line."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from truenet_apps.main import OneLineErrors, app

COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys\n"
        "from truenet_apps.main import app\n"
        f"app({[*filter(None, [command]), '--help']}, standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'onnxruntime', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("snr_db 900: give -20 to 60"), "snr_db 900: give -20 to 60"),
        (FileNotFoundError(2, "No such file", "a.wav"), "[Errno 2] No such file: 'a.wav'"),
        (ImportError("sounddevice is not installed"), "sounddevice is not installed"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "torch is not installed; in a clone of truenet run: pip install ./finetune ./data '.[train]'",
        ),
    ],
)
def test_what_is_wrong_with_the_input_is_one_line(error: Exception, line: str) -> None:
    broken = typer.Typer(cls=OneLineErrors)

    @broken.callback()
    def group() -> None:
        pass

    @broken.command()
    def command() -> None:
        raise error

    result = CliRunner().invoke(broken, ["command"], prog_name="truenet")
    assert result.exit_code == 1
    assert (result.stdout, result.stderr) == ("", f"truenet: {line}\n")


def test_what_is_wrong_with_the_program_is_not_hidden() -> None:
    broken = typer.Typer(cls=OneLineErrors)
    broken.callback()(lambda: None)

    @broken.command()
    def command() -> None:
        raise RuntimeError("a fault of ours")

    assert isinstance(CliRunner().invoke(broken, ["command"]).exception, RuntimeError)
