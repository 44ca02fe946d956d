"""What `truenet live` shows: a screen on a terminal, else a line every few seconds."""

import math
import sys
from typing import Any, Self

from truenet_apps.live_controls import KEYS, Controls
from truenet_apps.live_engine import Status

METER_CELLS = 40
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
    from rich.panel import Panel
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("input", f"{_meter(status.input_db)} {status.input_db:4.0f} dB")
    table.add_row("output", f"{_meter(status.output_db)} {status.output_db:4.0f} dB")
    table.add_row("removed", f"{_meter(status.removed_db + LOWEST_DB)} {status.removed_db:4.1f} dB")
    table.add_row("faders", _faders(controls))
    table.add_row("latency", _latency(status).removeprefix("latency "))
    table.add_row("model", _frames(status))
    table.add_row("trouble", _troubles(status))
    if status.overloaded:
        table.add_row("[bold red]overload[/]", f"[bold red]{_overload(True)}[/]")
    return Panel(table, title=title, subtitle=KEYS, expand=False)


def _meter(level_db: float) -> str:
    share = min(1.0, max(0.0, (level_db - LOWEST_DB) / -LOWEST_DB))
    filled = round(share * METER_CELLS)
    return "█" * filled + "·" * (METER_CELLS - filled)


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
        f"{status.dropouts} dropouts, {status.overloads} overloads, "
        f"clocks {status.drift_ppm:+.0f} ppm apart"
    )


def _overload(begins: bool) -> str:
    if begins:
        return "this machine is too slow at the moment: the sound passes unchanged, and the model is tried again soon"
    return "the model is back"
