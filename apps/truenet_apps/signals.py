"""Ending on a signal as on an error (everything that was begun is cleaned up), or after the step at hand."""

import signal
from types import FrameType

import typer


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
    """Ctrl-C and SIGTERM ask to stop after the step at hand; a second Ctrl-C interrupts as usual.

    Args:
        message: said when asked.
    """

    def __init__(self, message: str) -> None:
        self.asked, self._message = False, message
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)
        typer.echo(self._message, err=True)
