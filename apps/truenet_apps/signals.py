"""Ending on a signal as on an error (everything that was begun is cleaned up), or after the step at hand."""

import signal
import time
from types import FrameType

import typer

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_REPEATED_WITHIN_SECONDS = 1.0


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
    """While it is entered, Ctrl-C and SIGTERM ask to stop after the step at hand; another one later ends at once.

    Repetitions within `_REPEATED_WITHIN_SECONDS` count as one: a manager signals a process and its group.

    Args:
        message: said when asked.
    """

    def __init__(self, message: str) -> None:
        self.asked, self._message = False, message
        self._asked_at = 0.0

    def __enter__(self) -> "StopOnSignal":
        self._before = {each: signal.getsignal(each) or signal.SIG_DFL for each in _STOPPING}
        for each in _STOPPING:
            signal.signal(each, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
            typer.echo(f"{self._message} (once more: ends at once)", err=True)
        elif time.monotonic() - self._asked_at > _REPEATED_WITHIN_SECONDS:
            signal.signal(number, self._before[signal.Signals(number)])
            signal.raise_signal(number)
