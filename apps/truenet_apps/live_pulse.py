"""PulseAudio, or PipeWire in its place, through `pactl`: its devices, and a virtual microphone on it."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SINK = "truenet_output"  # what the model's output goes into
SOURCE = "truenet_microphone"  # what meetings pick
LABEL = "truenet-microphone"
TIMEOUT_SECONDS = 15  # an answer takes milliseconds, but not where everything waits for a core
LOCK_NAME = "truenet-virtual-microphone.lock"


class Pulse:
    """The sound server of this session."""

    def sources(self) -> dict[str, str]:
        """Inputs: names and what people call them. Raises: ValueError: the server is gone."""
        return self._devices("sources")

    def sinks(self) -> dict[str, str]:
        """Outputs, the same."""
        return self._devices("sinks")

    def default_source(self) -> str:
        """Name of the input that a program gets that asks for none."""
        return self.run("get-default-source").strip()

    def default_sink(self) -> str:
        """Name of such an output."""
        return self.run("get-default-sink").strip()

    def own_modules(self) -> list[str]:
        """Numbers of the modules that a virtual microphone of ours consists of, last made first."""
        lines = self.run("list", "short", "modules").splitlines()
        return [line.split("\t")[0] for line in reversed(lines) if SINK in line or SOURCE in line]

    def run(self, *arguments: str) -> str:
        """What pactl answers.

        Raises:
            ValueError: what it complains of.
        """
        try:
            done = subprocess.run(
                ["pactl", *arguments],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
                env=os.environ | {"LC_ALL": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C is for us: pactl must be able to clean up
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise ValueError(f"the sound server does not answer: {error}") from error
        if done.returncode:
            raise ValueError(f"the sound server refused {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def _devices(self, kind: str) -> dict[str, str]:
        entries = json.loads(self.run("--format=json", "list", kind) or "[]")
        return {entry["name"]: entry["description"] for entry in entries}


def find_pulse() -> Pulse | None:
    """The sound server, if there is one that answers."""
    if shutil.which("pactl") is None:
        return None
    pulse = Pulse()
    try:
        pulse.run("info")
    except ValueError:
        return None
    return pulse


@contextlib.contextmanager
def virtual_microphone(pulse: Pulse) -> Iterator[str]:
    """A microphone that other programs can pick, as long as the context lasts.

    What a crash left behind is removed first; a lock, which the system opens when its owner ends in whatever way, tells
    that from one in use.

    Yields:
        Name of the sink that feeds it.

    Raises:
        ValueError: another one is running, or the server refuses.
    """
    with _lock():
        remove_virtual_microphone(pulse)
        try:
            _make(pulse)
            yield SINK
        finally:
            with contextlib.suppress(ValueError):  # the server may be what went away
                remove_virtual_microphone(pulse)


def remove_virtual_microphone(pulse: Pulse) -> None:
    """Remove every module of ours."""
    for module in pulse.own_modules():
        with contextlib.suppress(ValueError):  # with its sink, a remapped source goes too
            pulse.run("unload-module", module)


def _make(pulse: Pulse) -> None:
    described = "device.description="
    pulse.run(
        "load-module",
        "module-null-sink",
        f"sink_name={SINK}",
        "rate=48000",
        "channels=1",
        f"sink_properties={described}truenet-output",
    )
    pulse.run(
        "load-module",
        "module-remap-source",
        f"master={SINK}.monitor",
        f"source_name={SOURCE}",
        f"source_properties={described}{LABEL}",
    )


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    import fcntl  # not on Windows, where there is no such server either

    folder = Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir()))
    path = folder / LOCK_NAME
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                "another `truenet live --virtual-microphone` is running; end that one first"
            ) from error
        yield
