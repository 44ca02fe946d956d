"""Ending on a signal as on an error (everything that was begun is cleaned up), or after the step at hand."""

import signal
from types import FrameType

import typer

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit with the exit code that shells expect."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None:
            signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise SystemExit(128 + number)


class StopOnSignal:
    """While it is entered, Ctrl-C and SIGTERM ask to stop after the step at hand; a second one ends as usual.

    Args:
        message: said when asked.
    """

    def __init__(self, message: str) -> None:
        self.asked, self._message = False, message

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.signal(number, self._ask) for number in _STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        for each in _STOPPING:
            signal.signal(each, self._before[each])
        typer.echo(self._message, err=True)
