"""Keys as they are pressed, and a standard error that audio libraries cannot write over."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

Read = Callable[[], str]


@contextlib.contextmanager
def pressed_keys() -> Iterator[Read]:
    """Read the keyboard without Enter.

    Yields:
        What returns the keys pressed since, without waiting; nothing where there is no keyboard.
    """
    if not sys.stdin.isatty():
        yield lambda: ""
    elif sys.platform == "win32":
        yield _windows_keys
    else:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield _unix_keys
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _unix_keys() -> str:
    import select

    ready = select.select([sys.stdin], [], [], 0)[0]
    return os.read(sys.stdin.fileno(), 64).decode(errors="ignore") if ready else ""


def _windows_keys() -> str:
    import msvcrt  # mypy checks for the platform it runs on

    keys = ""
    while msvcrt.kbhit():  # type: ignore[attr-defined, unused-ignore]
        keys += msvcrt.getwch()  # type: ignore[attr-defined, unused-ignore]
    return keys


@contextlib.contextmanager
def native_messages_hidden() -> Iterator[None]:
    """ALSA and PortAudio write to descriptor 2 whatever they try; sys.stderr goes on as before."""
    try:
        descriptor = sys.stderr.fileno()
    except OSError:  # a test's stand-in
        yield
        return
    sys.stderr.flush()
    kept, null = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    ours, sys.stderr = sys.stderr, os.fdopen(kept, "w", buffering=1, closefd=False)
    os.dup2(null, descriptor)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = ours
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(null)
