"""What came of an adaptation: the verdict, as words, JSON and a picture."""

import dataclasses
import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truenet_apps.adapt_run import Watched
from truenet_apps.adapt_scores import Comparison

MOST_LOST_PESQ = 0.05
TITLES = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "si_sdr_db": "SI-SDR"}

Comparisons = dict[str, Comparison]


def failures(new: Comparisons, old: Comparisons, steps: int) -> list[str]:
    """Why it is no success, and what to try; empty if it is one."""
    found = []
    gain, lost = new["pesq_wb"].change, -old["pesq_wb"].change.gain
    if not new["pesq_wb"].is_better:
        found.append(
            f"PESQ in the new domain changed by {gain.gain:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}), "
            "which is not clearly more than nothing. Try more recordings of the place (minutes, several files), "
            f"more --steps (these were {steps}), or a larger --rank"
        )
    if not lost <= MOST_LOST_PESQ:
        found.append(
            f"PESQ in the original domain fell by {lost:.2f}. Try a smaller most_lost_pesq or more old_crops in "
            "--config, or fewer --steps; or use the adapted model only where it was adapted"
        )
    return found


def lines(name: str, comparisons: Comparisons) -> list[str]:
    """A small table of one domain."""
    text = [f"{name:<16} {'noisy':>8} {'before':>8} {'after':>8}   change (95 %)"]
    for metric, comparison in comparisons.items():
        change = comparison.change
        digits = 3 if metric == "stoi" else 2
        values = (comparison.noisy, change.noisy, change.enhanced)
        numbers = " ".join(f"{value:>8.{digits}f}" for value in values)
        interval = (
            f"{change.gain:+.{digits}f} ({change.low:+.{digits}f} to {change.high:+.{digits}f})"
        )
        text.append(f"  {TITLES[metric]:<14} {numbers}   {interval}")
    return text


def as_json(comparisons: Comparisons) -> dict[str, dict[str, float | int | None]]:
    """Plain values; what could not be scored is null."""
    result = {}
    for metric, comparison in comparisons.items():
        change = comparison.change
        values = {
            "mixtures": change.pairs,
            "noisy": comparison.noisy,
            "before": change.noisy,
            "after": change.enhanced,
            "change": change.gain,
            "low": change.low,
            "high": change.high,
        }
        result[metric] = {n: v if math.isfinite(v) else None for n, v in values.items()}
    return result


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write the report, in place of `path` only once complete."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def history_json(history: Sequence[Watched]) -> list[dict[str, float | None]]:
    """The curves; before the first step there is no training loss."""
    return [
        {n: v if math.isfinite(v) else None for n, v in dataclasses.asdict(seen).items()}
        for seen in history
    ]


def picture(
    history: Sequence[Watched], signals: dict[str, NDArray[np.float32]], rate_hz: int
) -> bytes:
    """Loss curves above spectrograms of one held-out mixture, as a PNG.

    Args:
        history: what was watched.
        signals: (samples,) by title.
        rate_hz: of the signals.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from truenet_apps.plot import Panel, draw_panel

    figure = Figure(figsize=(12, 3 + 2.4 * len(signals)), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(signals), 1)
    _draw_curves(axes[0], history)
    panels = [_panel(title, samples, rate_hz, Panel) for title, samples in signals.items()]
    levels = [panel.spectrogram.decibels() for panel in panels]
    loudest = 5 * math.ceil(max(np.percentile(level, 99.9) for level in levels) / 5)
    for axis, panel, level in zip(axes[1:], panels, levels, strict=True):
        draw_panel(axis, panel, level, loudest)
    memory = io.BytesIO()
    figure.savefig(memory, format="png", facecolor="white")
    return memory.getvalue()


def _panel(title: str, samples: NDArray[np.float32], rate_hz: int, kind: Any) -> Any:
    from truenet_apps.spectrogram import Spectrogram

    spectrogram = Spectrogram(rate_hz)
    spectrogram.add(samples[:, None])
    level = 10 * math.log10(max(float(np.mean(samples**2)), 1e-20))
    return kind(title, spectrogram, level, None)


def _draw_curves(axis: Any, history: Sequence[Watched]) -> None:
    from truenet_apps.plot import STYLE

    steps = [seen.step for seen in history]
    for name, values, colour in (
        ("new domain", [seen.new for seen in history], "#b5367a"),
        ("original domain", [seen.old for seen in history], "#1d2433"),
    ):
        axis.plot(steps, [value - values[0] for value in values], color=colour, label=name)
    axis.axhline(0, color=STYLE["faint"], linewidth=0.6)
    axis.set_title("watched loss, against the start", loc="left", fontweight="bold", fontsize=12)
    axis.set_xlabel("step", color=STYLE["faint"])
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
