"""One run of `truenet live`: opens everything, watches it, and leaves nothing behind."""

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from truenet.enhancer import Enhancer
from truenet_apps.live_controls import Controls
from truenet_apps.live_devices import Device, choose, list_devices
from truenet_apps.live_engine import LiveEngine
from truenet_apps.live_pulse import LABEL, SINK, Pulse, virtual_microphone
from truenet_apps.live_record import Recorder
from truenet_apps.live_screen import Screen, line
from truenet_apps.live_streams import Streams
from truenet_apps.live_terminal import pressed_keys

LOOK_SECONDS = 0.1
SERVER_SECONDS = 2.0
REALTIME_PRIORITY = 1  # the lowest: below the sound server
HEADPHONES = (
    "use headphones: there is no echo cancellation, and loudspeakers near the microphone would howl"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user wants."""

    source: str | None
    sink: str | None
    use_virtual_microphone: bool
    record: tuple[Path, Path] | None
    seconds: float | None
    margin_seconds: float


def run_session(
    settings: Settings, enhancer: Enhancer, sounddevice: ModuleType, pulse: Pulse | None
) -> None:
    """From the microphone to the output until the user or the duration ends it.

    Raises:
        ValueError: devices, names or files that cannot be had, or a device that vanished.
    """
    _come_first()
    with contextlib.ExitStack() as stack:
        inputs, outputs = list_devices(sounddevice, pulse)
        source = choose(inputs, settings.source, "input")
        sink = choose(outputs, settings.sink, "output")
        if settings.use_virtual_microphone:
            sink = _as_sink(sink, stack.enter_context(virtual_microphone(_need(pulse))))
        _refuse_loop(source, sink)
        recorder = None
        if settings.record is not None:
            recorder = stack.enter_context(Recorder(*settings.record, enhancer.sample_rate_hz))
        engine = LiveEngine(
            enhancer,
            source.sample_rate_hz,
            sink.sample_rate_hz,
            settings.margin_seconds,
            recorder.add if recorder else None,
        )
        streams = Streams(sounddevice, engine, source, sink)
        stack.callback(streams.close)
        status = _watch(
            settings, engine, streams, Controls(enhancer), _Presence(pulse, source, sink)
        )
    _report(status, recorder)


def _come_first() -> None:
    """Ahead of programs that can wait, as sound servers run, where the system lets us: root, or the limits of an
    audio group. Threads inherit it, so that none of them waits for another that holds the interpreter.
    """
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))


def _watch(
    settings: Settings,
    engine: LiveEngine,
    streams: Streams,
    controls: Controls,
    presence: "_Presence",
) -> str:
    """Show, and obey keys, until the end; the last line."""
    with Screen(presence.title) as screen, pressed_keys() as read_keys, _until_interrupted():
        while settings.seconds is None or engine.status().seconds < settings.seconds:
            if not all(controls.press(key) for key in read_keys()):
                break
            screen.show(engine.status(), controls)
            time.sleep(LOOK_SECONDS)
            streams.check()
            presence.check()
    return line(engine.status(), controls)


class _Presence:
    """Looks whether the sound server still has our devices: it would move streams to others unasked."""

    def __init__(self, pulse: Pulse | None, source: Device, sink: Device) -> None:
        self._pulse, self._source, self._sink = pulse, source, sink
        self._looked_at = time.monotonic()
        heard_by = f"the microphone {LABEL}" if sink.pulse_name == SINK else sink.name
        self.title = f"{source.name} → truenet → {heard_by}"

    def check(self) -> None:
        """Raise ValueError for what is gone."""
        if self._pulse is None or time.monotonic() - self._looked_at < SERVER_SECONDS:
            return
        self._looked_at = time.monotonic()
        for device, present in (
            (self._source, self._pulse.sources()),
            (self._sink, self._pulse.sinks()),
        ):
            if device.pulse_name is not None and device.pulse_name not in present:
                raise ValueError(
                    f"the device {device.name!r} is gone; connect it again and restart truenet live"
                )


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C is the usual way to end a live program."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


def _need(pulse: Pulse | None) -> Pulse:
    if pulse is None:
        raise ValueError(
            "--virtual-microphone needs PulseAudio, or PipeWire with pipewire-pulse, and pactl "
            "(Debian, Ubuntu: sudo apt install pulseaudio-utils)"
        )
    return pulse


def _as_sink(device: Device, pulse_name: str) -> Device:
    return dataclasses.replace(
        device, name=LABEL, pulse_name=pulse_name, sample_rate_hz=48_000.0, channels=1
    )


def _refuse_loop(source: Device, sink: Device) -> None:
    """What comes out must not come in again."""
    if sink.pulse_name is not None and source.pulse_name == f"{sink.pulse_name}.monitor":
        raise ValueError(
            f"the input {source.name!r} is what the output plays: that is a loop; choose another with --input"
        )
    if sink.pulse_name != SINK:
        print(f"truenet live: {HEADPHONES}", file=sys.stderr)


def _report(status: str, recorder: Recorder | None) -> None:
    print(status, file=sys.stderr)
    if recorder is not None and recorder.lost_frames:
        print(f"{recorder.lost_frames} frames are missing in the recordings", file=sys.stderr)
