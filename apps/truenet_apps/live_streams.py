"""The two device streams: PortAudio's callbacks on one side, the engine on the other."""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from truenet.extras import how_to_install
from truenet_apps.live_devices import Device
from truenet_apps.live_engine import LiveEngine

BLOCK_SECONDS = 0.008
LOST_SECONDS = 4.0  # without a callback; a busy machine may stand still for a second or two
FIRST_SECONDS = 8.0
CLOSING_SECONDS = 2.0
IDLE_SECONDS = 0.1


def import_sounddevice() -> ModuleType:
    """The sounddevice package.

    Raises:
        ValueError: with how to install what is missing.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        if error.name != "sounddevice":
            raise
        raise ValueError(f"sounddevice is not installed; {how_to_install('live')}") from error
    except (
        OSError
    ) as error:  # the wheels for macOS and Windows bring PortAudio, others need the system's
        raise ValueError(
            "the PortAudio library is not installed; run: sudo apt install libportaudio2 libasound2-plugins "
            "(Debian, Ubuntu), sudo dnf install portaudio (Fedora) or sudo pacman -S portaudio (Arch)"
        ) from error
    return sounddevice


class Streams:
    """Microphone and output, open and running, and the thread between them.

    Args:
        sounddevice: the package.
        engine: what they feed.
        source, sink: the devices.
    """

    def __init__(self, sounddevice: Any, engine: LiveEngine, source: Device, sink: Device) -> None:
        self._engine = engine
        self._names = {"input": source.name, "output": sink.name}
        now = time.monotonic()
        self._called = {"input": now + FIRST_SECONDS, "output": now + FIRST_SECONDS}
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._streams: list[Any] = []
        self._worker = threading.Thread(target=self._work, name="truenet model", daemon=True)
        engine.warm_up()
        self._worker.start()
        try:
            self._streams.append(
                self._open(sounddevice.InputStream, source, engine.input_hz, self._capture, "low")
            )
            self._streams.append(
                self._open(
                    sounddevice.OutputStream,
                    sink,
                    engine.output_hz,
                    self._play,
                    _output_latency(sounddevice, sink, engine.margin_seconds),
                )
            )
            for stream in self._streams:
                stream.start()
        except sounddevice.PortAudioError as error:
            self.close()
            raise ValueError(_why_not(source, sink, error)) from error

    def check(self) -> None:
        """Raise what has gone wrong since the start.

        Raises:
            ValueError: a device that is gone.
        """
        if self._failure is not None:
            raise self._failure
        for direction, called in self._called.items():
            if time.monotonic() - called > LOST_SECONDS:
                raise ValueError(
                    f"the {direction} device {self._names[direction]!r} is gone or has stopped; "
                    "connect it again and restart truenet live"
                )

    def close(self) -> None:
        """Stop everything."""
        self._ending.set()
        closing = threading.Thread(target=self._close_streams, daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)
        if self._worker.is_alive():
            self._worker.join(CLOSING_SECONDS)
        if (
            closing.is_alive()
        ):  # PortAudio hangs over a device that vanished, and would again at the exit
            atexit.register(_leave)

    def _open(
        self, kind: Any, device: Device, rate_hz: float, callback: Any, latency: str | float
    ) -> Any:
        variable = "PULSE_SOURCE" if callback == self._capture else "PULSE_SINK"
        with _environment(variable, device.pulse_name):
            return kind(
                samplerate=rate_hz,
                blocksize=round(BLOCK_SECONDS * rate_hz),
                device=device.index,
                channels=min(2, device.channels),
                dtype="float32",
                latency=latency,
                callback=callback,
            )

    def _capture(self, block: Any, samples: int, times: Any, flags: Any) -> None:
        self._called["input"] = max(self._called["input"], time.monotonic())
        first = _plausible(times.currentTime - times.inputBufferAdcTime)
        age = max(0.0, first - samples / self._engine.input_hz)
        self._engine.capture(block.mean(axis=1), age, gap=bool(flags.input_overflow))

    def _play(self, block: Any, samples: int, times: Any, flags: Any) -> None:
        self._called["output"] = max(self._called["output"], time.monotonic())
        delay = _plausible(times.outputBufferDacTime - times.currentTime)
        block[:] = np.clip(
            self._engine.play(samples, delay, gap=bool(flags.output_underflow)), -1, 1
        )[:, np.newaxis]

    def _work(self) -> None:
        try:
            while not self._ending.is_set():
                self._engine.ready.wait(IDLE_SECONDS)
                self._engine.ready.clear()
                while not self._ending.is_set() and self._engine.step():
                    pass
        except BaseException as error:  # told by `check`, in the thread that can end everything
            self._failure = error

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.abort(ignore_errors=True)
            stream.close(ignore_errors=True)


def _output_latency(sounddevice: Any, sink: Device, margin_seconds: float) -> float:
    """The least that the device does well with; more where a reserve against dropouts is wanted, for it may be the
    sound server that is late.
    """
    least: float = sounddevice.query_devices(sink.index)["default_low_output_latency"]
    return max(least, margin_seconds / 2)


def _leave() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)


def _plausible(seconds: float) -> float:
    """Some host APIs tell no times: then the devices count as immediate."""
    return seconds if 0 <= seconds < 5 else 0.0


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """The sound server's client library takes its device from the environment, when a stream opens."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def _why_not(source: Device, sink: Device, error: Exception) -> str:
    return (
        f"cannot open {source.name!r} and {sink.name!r}: {error.args[0]}; is another program using them, may this "
        "program use the microphone (system settings, privacy), and is the rate right? "
        "`truenet live --list-devices` lists the devices"
    )
