"""Ending on a signal as on an error: everything that was begun is cleaned up."""

import signal
from types import FrameType


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit with the exit code that shells expect."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None:
            signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise SystemExit(128 + number)
