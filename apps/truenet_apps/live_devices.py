"""Audio devices by name. What a name means is decided here, apart from any device.

On Linux PortAudio shows one device for all of PulseAudio or PipeWire, so the names of those servers' own
sources and sinks count too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from truenet_apps.live_pulse import Pulse

SERVER_DEVICE = "pulse"  # PortAudio's name for the sound server


@dataclasses.dataclass(frozen=True)
class Device:
    """One end of the stream. `system` is PortAudio's host API, or the sound server; `pulse_name` the server's own name
    for it; `index` what PortAudio opens.
    """

    name: str
    system: str
    index: int
    channels: int
    sample_rate_hz: float
    is_default: bool = False
    pulse_name: str | None = None


def choose(devices: Sequence[Device], wanted: str | None, direction: str) -> Device:
    """The device that `wanted` names: the whole name, or a part that only one has; None is the default.

    A name may be followed by a comma and the system: "USB Microphone, WASAPI". Devices that several
    systems show under one name are the same device: the default's system is preferred.

    Args:
        devices: those of one direction.
        wanted: the name, upper or lower case.
        direction: "input" or "output", for the messages.

    Raises:
        ValueError: none, or several, with the names that could be meant.
    """
    if not devices:
        raise ValueError(
            f"there is no audio {direction} device; connect one, or start the sound server (pulseaudio or pipewire)"
        )
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    matches = _matches(devices, wanted.casefold())
    if len({device.name for device in matches}) == 1:
        systems = {device.system for device in devices if device.is_default}
        matches = [device for device in matches if device.system in systems] or matches
    if len(matches) == 1:
        return matches[0]
    reason = "several are called so" if matches else "there is none of this name"
    listed = "".join(f"\n  {_full(device)}" for device in matches or devices)
    raise ValueError(f"{direction} device {wanted!r}: {reason}; give one of these names:{listed}")


def describe(devices: Sequence[Device]) -> str:
    """A line for each device, * at the default."""
    return "\n".join(f"{'*' if device.is_default else ' '} {_full(device)}" for device in devices)


def list_devices(sounddevice: Any, pulse: Pulse | None) -> tuple[list[Device], list[Device]]:
    """Inputs and outputs of this machine."""
    inputs = _of_portaudio(sounddevice, "input")
    outputs = _of_portaudio(sounddevice, "output")
    if pulse is None:
        return inputs, outputs
    return (
        _of_server(inputs, pulse.sources(), pulse.default_source()) or inputs,
        _of_server(outputs, pulse.sinks(), pulse.default_sink()) or outputs,
    )


def _of_portaudio(sounddevice: Any, direction: str) -> list[Device]:
    systems = sounddevice.query_hostapis()
    default = systems[0][f"default_{direction}_device"] if systems else -1
    return [
        Device(
            entry["name"],
            systems[entry["hostapi"]]["name"],
            index,
            entry[f"max_{direction}_channels"],
            entry["default_samplerate"],
            index == default,
        )
        for index, entry in enumerate(sounddevice.query_devices())
        if entry[f"max_{direction}_channels"] > 0
    ]


def _of_server(devices: list[Device], names: dict[str, str], default: str | None) -> list[Device]:
    """The server's own devices, all opened through PortAudio's one for it."""
    ways = [device for device in devices if device.name == SERVER_DEVICE]
    return [
        dataclasses.replace(
            ways[0],
            name=description,
            system="sound server",
            sample_rate_hz=48_000.0,  # it resamples for every client, and 48 kHz is what most devices run at
            is_default=name == default,
            pulse_name=name,
        )
        for name, description in names.items()
        if ways
    ]


def _matches(devices: Sequence[Device], wanted: str) -> list[Device]:
    for fits in (
        lambda device: wanted in (_full(device).casefold(), str(device.pulse_name).casefold()),
        lambda device: wanted == device.name.casefold(),
        lambda device: wanted in _full(device).casefold(),
    ):
        matches = [device for device in devices if fits(device)]
        if matches:
            return matches
    return []


def _full(device: Device) -> str:
    return f"{device.name}, {device.pulse_name or device.system}"
