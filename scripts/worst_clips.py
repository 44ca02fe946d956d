"""Picture of the mixtures that gain least: noisy, enhanced (the voice alone) and clean, side by side.

    python scripts/worst_clips.py ../shared/data/valid/mix docs/scores/mix.json docs/scores/worst.png

`scripts/score` runs it.
"""

import argparse
import json
from pathlib import Path

import soundfile
from enhanced_samples import panel, shrink
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from truenet.evaluation import ModelEnhance
from truenet_apps.plot import Panel, draw_panel, save_figure

LOUDEST_DB = -20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mix", "report", "picture"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    names = json.loads(given.report.read_text("utf-8"))["worst"]
    figure = Figure(figsize=(15, 2.6 * len(names)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), 3, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(grid, names, strict=True):
        for axis, one in zip(axes, panels(given.mix, name), strict=True):
            draw_panel(axis, one, one.spectrogram.decibels(), LOUDEST_DB)
            axis.xaxis.set_major_locator(MaxNLocator(3))
            axis.label_outer()
    save_figure(figure, given.picture)
    shrink(given.picture)


def panels(mix: Path, name: str) -> list[Panel]:
    """Of one mixture."""
    signals = {}
    for folder in ("noisy", "clean"):
        (path,) = (mix / folder).glob(f"{name}.*")
        signals[folder], rate_hz = soundfile.read(path, dtype="float32")
    enhanced = ModelEnhance()(signals["noisy"], rate_hz)
    shown = {name: signals["noisy"], "enhanced": enhanced, "clean": signals["clean"]}
    return [panel(title, samples, rate_hz) for title, samples in shown.items()]


if __name__ == "__main__":
    main()
