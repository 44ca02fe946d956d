"""Which device a name means."""

import pytest

from truenet_apps.live_devices import Device, choose, describe

DEVICES = [
    Device("Built-in Microphone", "MME", 0, 2, 44_100, is_default=True),
    Device("Built-in Microphone", "WASAPI", 1, 2, 48_000),
    Device("USB Microphone", "MME", 2, 1, 48_000),
    Device("USB Microphone Pro", "MME", 3, 1, 48_000),
    Device("Webcam", "sound server", 4, 1, 48_000, pulse_name="alsa_input.webcam"),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (None, 0),
        ("built-in", 0),
        ("Built-in Microphone, WASAPI", 1),
        ("usb microphone", 2),
        ("pro", 3),
        ("ALSA_INPUT.webcam", 4),
        ("cam", 4),
    ],
)
def test_a_name_or_a_part_that_only_one_has(wanted: str | None, index: int) -> None:
    assert choose(DEVICES, wanted, "input").index == index


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("usb", "several"), ("microphone", "several"), ("line in", "there is none")],
)
def test_other_names_are_refused_with_those_that_can_be(wanted: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        choose(DEVICES, wanted, "input")
    assert "USB Microphone Pro, MME" in str(error.value)


def test_no_device_at_all() -> None:
    with pytest.raises(ValueError, match="no audio output device"):
        choose([], None, "output")


def test_the_list_marks_the_default() -> None:
    lines = describe(DEVICES).splitlines()
    assert lines[0] == "* Built-in Microphone, MME"
    assert lines[4] == "  Webcam, alsa_input.webcam"
