"""A real PulseAudio daemon for tests, `truenet live` on it, and both ends of what it hears and says."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

RATE_HZ = 48_000
PATIENCE_SECONDS = 120.0  # for what takes one: a test machine may be very busy
ATTEMPTS = 3
COMMAND = [sys.executable, "-c", "from truenet_apps.main import run; run()", "live"]
RAW = ["--raw", "--format=float32le", f"--rate={RATE_HZ}", "--channels=1"]
MICROPHONE, SPEAKER = "fake_microphone", "fake_speaker"
VIRTUAL = "truenet_microphone"


def wait_for(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        time.sleep(0.05)


def skip_without_sound_server() -> None:
    """Skip the test where there is nothing to run it on."""
    pytest.importorskip("sounddevice", reason="needs sounddevice", exc_type=Exception)
    for program in ("pulseaudio", "pactl", "parec"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian: pulseaudio, pulseaudio-utils)")
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("needs ALSA's way to PulseAudio (Debian: libasound2-plugins)")


def judge(attempt: Callable[[], tuple[str, str]]) -> None:
    """Sound comes in time, or it does not: a machine that is too busy for it decides nothing.

    Args:
        attempt: tries it, and returns what disturbed it and what is wrong with it, both empty if nothing.
    """
    disturbances, faults = zip(*_attempts(attempt), strict=True)
    print(f"attempts: {list(zip(disturbances, faults, strict=True))}")
    if "" in faults:
        return
    if any(disturbances):
        pytest.skip(f"machine too busy: {', '.join(filter(None, disturbances))}")
    pytest.fail("; ".join(faults))


def _attempts(attempt: Callable[[], tuple[str, str]]) -> list[tuple[str, str]]:
    tried: list[tuple[str, str]] = []
    while len(tried) < ATTEMPTS and "" not in (fault for _, fault in tried):
        tried.append(attempt())
    return tried


class Server:
    """A PulseAudio daemon of our own, with a null sink whose monitor is the microphone."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "socket"
        home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        server = {"PULSE_SERVER": f"unix:{self.socket}", "PYTHONPATH": os.pathsep.join(sys.path)}
        own = {key: value for key, value in os.environ.items() if not key.startswith("PULSE_")}
        self.environment = own | home | server | {"OMP_NUM_THREADS": "1"}
        modules = [f"module-native-protocol-unix socket={self.socket} auth-anonymous=1"]
        modules += [
            f"module-null-sink sink_name={name} rate=48000" for name in (MICROPHONE, SPEAKER)
        ]
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        options += [f"--load={module}" for module in modules]
        self._process = subprocess.Popen(
            ["pulseaudio", *options],
            env=self.environment | {"PULSE_SERVER": ""},
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.socket.exists, "the sound server")
        with contextlib.suppress(PermissionError):  # ahead of whatever else a test machine does
            os.sched_setscheduler(self._process.pid, os.SCHED_RR, os.sched_param(2))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_SECONDS)

    def pactl(self, *arguments: str) -> str:
        return subprocess.run(
            ["pactl", *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        ).stdout

    def has_virtual_microphone(self) -> bool:
        return VIRTUAL in self.pactl("list", "short", "sources")

    def has_our_modules(self) -> bool:
        return "truenet" in self.pactl("list", "short", "modules")

    def live(self, *options: str) -> "Live":
        return Live(self, *options)

    def play(self, samples: NDArray[np.floating]) -> None:
        """Let the microphone hear it, to the end."""
        subprocess.run(
            ["pacat", *RAW, "--latency-msec=500", f"--device={MICROPHONE}"],
            env=self.environment,
            input=samples.astype(np.float32).tobytes(),
            timeout=PATIENCE_SECONDS + len(samples) / RATE_HZ,
            check=True,
        )


class Live:
    """A running `truenet live`, its messages as they come."""

    def __init__(self, server: Server, *options: str) -> None:
        self._server = server
        self._process = subprocess.Popen(
            [*COMMAND, "--input", f"{MICROPHONE}.monitor", *options],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.messages = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as messages:
            for text in messages:
                self.messages += text.decode()

    def wait_for_virtual_microphone(self) -> None:
        """Until it can be picked, and is heard."""
        wait_for(self._server.has_virtual_microphone, "the virtual microphone")
        wait_for(lambda: " s: in " in self.messages, f"a first line after {self.messages}")

    def end(self, number: signal.Signals | None = signal.SIGINT) -> int:
        """The exit code, after a signal or without one."""
        if number is not None:
            self._process.send_signal(number)
        code = self._process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join()
        return code


class Recording:
    """What a source says, and when it came."""

    def __init__(self, server: Server, source: str) -> None:
        self._process = subprocess.Popen(
            ["parec", *RAW, "--latency-msec=5", f"--device={source}"],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._data = bytearray()
        self._arrivals: list[tuple[float, int]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_for(lambda: self._arrivals, f"sound from {source}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := os.read(pipe.fileno(), 4 * RATE_HZ):
                self._data += data
                self._arrivals.append((time.monotonic(), len(self._data)))

    def stop(self) -> tuple[NDArray[np.float32], float]:
        """The samples, and when the first of them came: the best of all blocks."""
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join()
        times, bytes_ = np.array(self._arrivals).T
        samples = np.frombuffer(self._data[: len(self._data) // 4 * 4], np.float32)
        return samples, float(np.percentile(times - bytes_ / 4 / RATE_HZ, 5))
