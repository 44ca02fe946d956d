"""Before and after in one picture: spectrograms under one scale of colours, with level and SNR."""

import contextlib
import dataclasses
import math
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from truenet_apps.spectrogram import Spectrogram

RANGE_DB = 80.0
STYLE = {"ink": "#1d2433", "faint": "#5d6678"}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One spectrogram and what is written above it."""

    title: str
    spectrogram: Spectrogram
    level_dbfs: float
    snr_db: float | None

    @property
    def figures(self) -> str:
        """Level and SNR, as far as they are known."""
        if math.isinf(self.level_dbfs):
            return "silence"
        level = f"{self.level_dbfs:.1f} dBFS".replace("-", "−")
        return level if self.snr_db is None else f"{level}    SNR ≈ {self.snr_db:.0f} dB"


def write_plot(path: Path, panels: list[Panel]) -> None:
    """Write the panels, one above the other, as a PNG; whole or not at all.

    Raises:
        ValueError: the place cannot be written.
    """
    levels = [panel.spectrogram.decibels() for panel in panels]
    loudest = 5 * math.ceil(max(np.percentile(level, 99.9) for level in levels) / 5)
    figure = Figure(figsize=(12, 3.4 * len(panels) + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, panel, level in zip(axes, panels, levels, strict=True):
        image = draw_panel(axis, panel, level, loudest)
    axes[-1].set_xlabel("time (minutes:seconds)", color=STYLE["faint"])
    bar = figure.colorbar(image, ax=list(axes), aspect=40, pad=0.015)
    bar.set_label("level (dB; a sine at full scale is 0)", color=STYLE["faint"])
    bar.ax.tick_params(colors=STYLE["faint"])
    bar.outline.set_visible(False)
    save_figure(figure, path)


def draw_panel(axis: Any, panel: Panel, level: Any, loudest: float) -> Any:
    """Draw one spectrogram into an axis; returns the image, for a bar of colours."""
    spectrogram = panel.spectrogram
    image = axis.imshow(
        level,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=loudest - RANGE_DB,
        vmax=loudest,
        extent=(0, spectrogram.seconds, 0, spectrogram.sample_rate_hz / 2000),
    )
    axis.set_title(panel.title, loc="left", color=STYLE["ink"], fontweight="bold", fontsize=12)
    axis.set_title(panel.figures, loc="right", color=STYLE["faint"], fontsize=11)
    axis.set_ylabel("frequency (kHz)", color=STYLE["faint"])
    axis.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(_clock))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axis.tick_params(colors=STYLE["faint"])
    axis.spines[:].set_visible(False)
    return image


def _clock(seconds: float, _: int | None = None) -> str:
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}:{rest:02.0f}" if rest == int(rest) else f"{minutes:.0f}:{rest:04.1f}"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; whole or not at all.

    Raises:
        ValueError: the place cannot be written.
    """
    temporary = path.with_name(f".enhance-{secrets.token_hex(4)}.part")
    try:
        figure.savefig(temporary, format="png", facecolor="white")
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
