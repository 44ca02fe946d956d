"""Running `enhance` in tests: in this process, or as one of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from truenet_apps.enhance import app

COMMAND = "from truenet_apps.enhance import run; run()"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def enhance(*arguments: object) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def start(
    *arguments: object, code: str = COMMAND, stdin: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command as a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env=ENVIRONMENT, timeout=60)


def files() -> list[str]:
    """Every file below the working folder."""
    return sorted(path.as_posix() for path in Path().rglob("*") if path.is_file())
