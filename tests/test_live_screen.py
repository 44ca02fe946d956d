"""The screen and the line: everything is said."""

from pathlib import Path

import pytest
from rich.console import Console

from truenet.enhancer import Enhancer
from truenet_apps.live_controls import Controls
from truenet_apps.live_engine import Status
from truenet_apps.live_screen import Screen, line, panel

STATUS = Status(61, -20, -26, 6, 89, 25, 28, 36, 1.2, 2.5, 3, 1, True, -14)
SAID = [
    "-20 dB",
    "-26 dB",
    "6.0 dB",
    "89 ms = devices 25 + window 28 + queue 36",
    "p50 1.2 ms, p99 2.5 ms",
]
SAID += ["3 dropouts, 1 overload,", "-14 ppm", "voice +0 dB, room -20 dB, noise -36 dB"]


@pytest.fixture
def controls(stand_in: Path) -> Controls:
    return Controls(Enhancer(stand_in))


def test_the_line_says_everything(controls: Controls) -> None:
    assert not [words for words in SAID if words not in line(STATUS, controls)]


def test_the_screen_says_everything_and_the_overload(controls: Controls) -> None:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(panel("microphone → model", STATUS, controls))
    shown = capture.get()
    assert not [words for words in [*SAID, "too slow", "q quit", "━"] if words not in shown]


def test_without_a_terminal_a_line_every_few_seconds(
    controls: Controls, capsys: pytest.CaptureFixture[str]
) -> None:
    with Screen("microphone → model") as screen:
        for _ in range(3):
            screen.show(STATUS, controls)
    said = capsys.readouterr().err.splitlines()
    assert [words.split(":")[0] for words in said] == [
        "microphone → model",
        "this machine is too slow at the moment",
        "61 s",
    ]
