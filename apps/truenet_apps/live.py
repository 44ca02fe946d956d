"""`truenet live`: the microphone through the model, to headphones or to a virtual microphone."""

import sys

from truenet.faders import DEFAULT_NOISE_DB, DEFAULT_ROOM_DB, DEFAULT_VOICE_DB, linear_gain
from truenet_apps import live_options as options
from truenet_apps.enhance_options import Model, Noise, Room, Voice
from truenet_apps.signals import exit_on_signals

CABLES = {
    "darwin": "BlackHole (existential.audio/blackhole)",
    "win32": "VB-CABLE (vb-audio.com/Cable)",
}


def live(
    source: options.Input = None,
    sink: options.Output = None,
    virtual_microphone: options.VirtualMicrophone = False,
    voice: Voice = DEFAULT_VOICE_DB,
    room: Room = DEFAULT_ROOM_DB,
    noise: Noise = DEFAULT_NOISE_DB,
    record: options.Record = None,
    duration: options.Duration = None,
    queue: options.Queue = options.DEFAULT_QUEUE_MS,
    model: Model = None,
    show_devices: options.ListDevices = False,
) -> None:
    """Take noise and reverberation out of what the microphone hears, while it hears it.

    Use headphones: there is no echo cancellation. Keys: v r n lower voice, room and noise, V R N raise them, b is the
    bypass, q or Ctrl-C ends.
    """
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
