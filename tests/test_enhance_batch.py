"""Processes, signals and full disks: nothing half-done is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from running import COMMAND, ENVIRONMENT

Noise = Callable[..., NDArray[np.float32]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")


def start(folder: Path, *arguments: object, code: str = COMMAND) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def being_written(folder: Path) -> list[Path]:
    """Files without their name that hold more than a header."""
    return [path for path in folder.glob(".enhance-*.part") if path.stat().st_size > 1000]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_signals_leave_nothing_behind(
    tmp_path: Path, noise: Noise, number: signal.Signals, code: int, jobs: int
) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, noise(48_000 * 120), 48_000)
    process = start(tmp_path, "a.wav", "b.wav", "-o", "new/", "--jobs", jobs)
    deadline = time.monotonic() + 120
    while len(being_written(tmp_path / "new")) < jobs:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == code
    assert b"Traceback" not in messages
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.wav", "b.wav"]


def test_processes_give_what_one_gives(tmp_path: Path, stand_in: Path, noise: Noise) -> None:
    for name, seed in (("a.wav", 0), ("b.wav", 1), ("c.wav", 2)):
        soundfile.write(tmp_path / name, noise(20_000, seed=seed), 44_100)
    (tmp_path / "d.wav").write_text("no audio")
    for folder, jobs in (("one", 1), ("two", 2)):
        process = start(tmp_path, ".", "-o", folder, "--jobs", jobs, "--model", stand_in)
        _, messages = process.communicate(timeout=120)
        assert process.returncode == 1
        assert messages.decode().splitlines()[-1] == "enhance: 1 of 4 inputs failed"
    for name in ("a.wav", "b.wav", "c.wav"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_full_disk(tmp_path: Path, stand_in: Path, noise: Noise) -> None:
    soundfile.write(tmp_path / "a.wav", noise(100_000), 16_000)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    process = start(tmp_path, "a.wav", "--model", stand_in, code=limit + COMMAND)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 1
    assert messages.decode() == (
        "enhance: a.wav: a_enhanced.wav: cannot be written; is the disk full?\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
