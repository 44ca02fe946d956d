"""What `truenet live` shows: a screen on a terminal, else a line every few seconds."""

import math
import sys
from typing import Any, Self

from truenet_apps.live_controls import KEYS, Controls
from truenet_apps.live_engine import Status

WIDTH = 84
LOWEST_DB = -60.0
LINE_SECONDS = 5.0


class Screen:
    """Shows a status again and again.

    Args:
        title: what runs.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._live: Any = None
        self._told_at = -math.inf
        self._told_overloaded = False

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(console=console, refresh_per_second=8, transient=True)
            self._live.__enter__()
        else:
            print(self._title, file=sys.stderr)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def show(self, status: Status, controls: Controls) -> None:
        """Show how it goes now."""
        if self._live is not None:
            self._live.update(panel(self._title, status, controls))
            return
        if status.overloaded != self._told_overloaded:
            self._told_overloaded = status.overloaded
            print(_overload(status.overloaded), file=sys.stderr)
        if status.seconds - self._told_at >= LINE_SECONDS:
            self._told_at = status.seconds
            print(line(status, controls), file=sys.stderr)


def line(status: Status, controls: Controls) -> str:
    """Everything in one line."""
    return (
        f"{status.seconds:.0f} s: in {status.input_db:.0f} dB, out {status.output_db:.0f} dB, "
        f"removed {status.removed_db:.1f} dB; {_latency(status)}; {_frames(status)}; "
        f"{_troubles(status)}; {_faders(controls)}"
    )


def panel(title: str, status: Status, controls: Controls) -> Any:
    """The screen, for rich."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    meters = Table.grid("", "", "", padding=(0, 2), expand=True)
    meters.columns[1].ratio = 1
    meters.columns[2].justify = "right"
    for name, level_db, shown, style in (
        ("input", status.input_db, f"{status.input_db:.0f} dB", "cyan"),
        ("output", status.output_db, f"{status.output_db:.0f} dB", "green"),
        ("removed", status.removed_db + LOWEST_DB, f"{status.removed_db:.1f} dB", "magenta"),
    ):
        meters.add_row(f"{name:8}", _meter(level_db, style), f"{shown:>8}")
    facts = Table.grid("", "", padding=(0, 2))
    facts.add_row(
        "faders  ", f"[bold reverse]{_faders(controls)}" if controls.bypass else _faders(controls)
    )
    facts.add_row("latency", _latency(status).removeprefix("latency "))
    facts.add_row("model", _frames(status))
    facts.add_row("trouble", _troubles(status))
    if status.overloaded:
        facts.add_row("[bold red]overload[/]", f"[bold red]{_overload(True)}[/]")
    facts.add_row("[dim]keys[/]", f"[dim]{KEYS}[/]")
    return Panel(Group(meters, facts), title=title, width=WIDTH)


def _meter(level_db: float, style: str) -> Any:
    from rich.progress_bar import ProgressBar

    level = min(-LOWEST_DB, max(0.0, level_db - LOWEST_DB))
    return ProgressBar(-LOWEST_DB, level, complete_style=style, finished_style="red")


def _faders(controls: Controls) -> str:
    levels = ", ".join(f"{name} {level:+.0f} dB" for name, level in controls.levels_db.items())
    return f"bypass ({levels})" if controls.bypass else levels


def _latency(status: Status) -> str:
    return (
        f"latency {status.latency_ms:.0f} ms = devices {status.device_ms:.0f} + window {status.window_ms:.0f} "
        f"+ queue {status.queue_ms:.0f}"
    )


def _frames(status: Status) -> str:
    return f"frame p50 {status.frame_p50_ms:.1f} ms, p99 {status.frame_p99_ms:.1f} ms of 8 ms"


def _troubles(status: Status) -> str:
    return (
        f"{_count(status.dropouts, 'dropout')}, {_count(status.overloads, 'overload')}, "
        f"clocks {status.drift_ppm:+.0f} ppm apart"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _overload(begins: bool) -> str:
    if begins:
        return "this machine is too slow at the moment: the sound passes unchanged, and the model is tried again soon"
    return "the model is back"
