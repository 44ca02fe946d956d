"""Results as JSON and as Markdown tables of ratios."""

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from partialgrad.benchmarks.running import Result, Row, Settings

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_HEADER = "| | trained | time per step | saved activations | quality | result |\n|---|---:|---:|---:|---:|---:|"
_LEGEND = """Time and activations compare with full fine-tuning in the same run: processor time of a step with its
optimizer, methods taking turns; bytes kept for the backward pass by the step that keeps most (on a GPU the peak of the
allocator). Quality is the test loss after equally many steps with the learning rate that was best on validation
batches (* the smallest or largest on offer: another might do better), and its share of what full fine-tuning gains.
Result is the file to hand on."""


def circumstances(settings: Settings, command: str) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "command": command,
        "device": _device_name(settings.device),
        "threads": torch.get_num_threads(),
        "steps": settings.steps,
        "rounds": settings.rounds,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peft": _version("peft"),
    }


def as_json(results: Sequence[Result], conditions: dict[str, Any]) -> str:
    """All numbers as measured."""
    everything = conditions | {"tasks": [result.as_dict() for result in results]}
    return json.dumps(everything, indent=2) + "\n"


def as_markdown(results: Sequence[Result], conditions: dict[str, Any]) -> str:
    """A table for each task."""
    names = ("device", "threads", "torch", "peft")
    where = ", ".join(f"{name} {conditions[name] or 'not installed'}" for name in names)
    lines = [f"`{conditions['command']}` ({where}):"]
    for result in results:
        lines += ["", f"**{result.task}** ({result.note})", "", _HEADER]
        lines += [_line(row, result) for row in result.rows]
    lines += ["", _LEGEND]
    return "\n".join(lines) + "\n"


def put_into(path: Path, text: str) -> None:
    """Replace what lies between the markers of a Markdown file.

    Raises:
        ValueError: the markers are not there.
    """
    old = path.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"{path} must have the lines {BEGIN} and {END}, which the tables go between"
        )
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def _line(row: Row, result: Result) -> str:
    if row.missing:
        return f"| {row.method} | {row.missing} | | | | |"
    full = result.rows[0]
    assert row.trained is not None
    assert row.result_bytes is not None
    cells = [
        row.method,
        f"{row.trained:,}",
        _times(row.step_seconds, full.step_seconds),
        _memory(row, full),
        _quality(row, full, result),
        f"{row.result_bytes / 1000:,.0f} kB",
    ]
    return f"| {' | '.join(cells)} |"


def _times(value: float | None, full: float | None) -> str:
    return f"{value / full:.2f}×" if value and full else ""


def _memory(row: Row, full: Row) -> str:
    assert row.memory_bytes is not None
    assert full.memory_bytes is not None
    megabytes = f"{row.memory_bytes / 1e6:.2f} MB"
    if row is full:
        return megabytes
    ratio = full.memory_bytes / row.memory_bytes
    return (
        f"{megabytes}, {ratio:.1f}× less"
        if ratio >= 1
        else f"{megabytes}, {1 / ratio:.2f}× as much"
    )


def _quality(row: Row, full: Row, result: Result) -> str:
    """The loss, and how much of full fine-tuning's reduction of the loss that is."""
    if row.loss is None or full.loss is None or result.loss_before is None:
        return ""
    share = (result.loss_before - row.loss) / (result.loss_before - full.loss)
    at_edge = row.learning_rate in (min(result.learning_rates), max(result.learning_rates))
    return f"{row.loss:.3f}, {share:.0%}{' *' if at_edge else ''}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
