"""`truenet live`: the microphone through the model, to headphones or to a virtual microphone."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from truenet.faders import DEFAULT_NOISE_DB, DEFAULT_ROOM_DB, DEFAULT_VOICE_DB, linear_gain
from truenet_apps import enhance_options as options
from truenet_apps.signals import exit_on_signals

DEFAULT_MARGIN_MS = 20.0
CABLES = {
    "darwin": "BlackHole (existential.audio/blackhole)",
    "win32": "VB-CABLE (vb-audio.com/Cable)",
}


def live(
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="NAME", help="Microphone: its name, or a part of it."),
    ] = None,
    sink: Annotated[
        str | None,
        typer.Option("--output", metavar="NAME", help="Output: its name, or a part of it."),
    ] = None,
    virtual_microphone: Annotated[
        bool,
        typer.Option(
            "--virtual-microphone",
            help="Linux: be a microphone that meetings can pick. On macOS give --output BlackHole, "
            "on Windows --output 'CABLE Input' (VB-CABLE), and pick that cable in the meeting.",
        ),
    ] = False,
    voice: options.Voice = DEFAULT_VOICE_DB,
    room: options.Room = DEFAULT_ROOM_DB,
    noise: options.Noise = DEFAULT_NOISE_DB,
    record: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--record", metavar="BEFORE AFTER", help="Write input and output to two files, in step."
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", help="End after so long.", min=0.0),
    ] = None,
    queue: Annotated[
        float,
        typer.Option(
            "--queue",
            metavar="MS",
            help="Reserve against dropouts; adds to the delay.",
            min=0,
            max=200,
        ),
    ] = DEFAULT_MARGIN_MS,
    model: options.Model = None,
    show_devices: Annotated[
        bool, typer.Option("--list-devices", help="List inputs and outputs, and stop.")
    ] = False,
) -> None:
    """Take noise and echo out of what the microphone hears, while it hears it."""
    for name, level_db in (("voice", voice), ("room", room), ("noise", noise)):
        linear_gain(level_db, name)
    if virtual_microphone:
        _check_virtual(sink)
    from truenet_apps.live_pulse import find_pulse
    from truenet_apps.live_streams import import_sounddevice
    from truenet_apps.live_terminal import native_messages_hidden

    exit_on_signals()
    with native_messages_hidden():
        sounddevice = import_sounddevice()
        pulse = find_pulse()
        if show_devices:
            from truenet_apps.live_devices import describe, list_devices

            inputs, outputs = list_devices(sounddevice, pulse)
            print(f"inputs\n{describe(inputs)}\noutputs\n{describe(outputs)}")
            return
        from truenet.enhancer import Enhancer
        from truenet_apps.live_session import Settings, run_session

        settings = Settings(source, sink, virtual_microphone, record, duration, queue / 1000)
        enhancer = Enhancer(model, voice_db=voice, room_db=room, noise_db=noise, whole_frames=True)
        run_session(settings, enhancer, sounddevice, pulse)


def _check_virtual(sink: str | None) -> None:
    """Refuse what cannot be.

    Raises:
        ValueError: with what to use instead.
    """
    if sys.platform in CABLES:
        raise ValueError(
            f"--virtual-microphone is for Linux; here install {CABLES[sys.platform]}, give its name to --output, and "
            "pick it as the microphone in the meeting"
        )
    if sink is not None:
        raise ValueError("--virtual-microphone is an output itself; leave out --output")
