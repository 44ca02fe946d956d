"""`truenet evaluate`: score pairs of clean and noisy files, before and after enhancement."""

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from truenet.evaluation import Row

_DEFAULT_METRICS = "pesq_wb,pesq_nb,stoi,estoi,si_sdr_db,csig,cbak,covl"
_HEADINGS = {
    "segmental_snr_db": "SSNR",
    "level_difference_db": "level",
    "onset_kept_db": "onsets",
    "eaten_onsets": "eaten",
    "consonant_kept_db": "consonants",
    "upper_band_kept_db": "4–8 kHz",
    "left_over_db": "left over",
}


def evaluate(
    clean: Annotated[Path, typer.Argument(help="Folder of clean voices.")],
    noisy: Annotated[Path, typer.Argument(help="Folder of noisy recordings under the same names.")],
    model: Annotated[
        Path | None, typer.Option(help="Model file; else the one in the package.")
    ] = None,
    enhanced: Annotated[
        Path | None, typer.Option(help="Score the files in this folder instead of running a model.")
    ] = None,
    peer: Annotated[
        str | None,
        typer.Option(
            help="Run another suppressor from PyPI: noisereduce, webrtc, rnnoise, fastenhancer, dtln, gtcrn or "
            "deepfilternet."
        ),
    ] = None,
    voice: Annotated[float, typer.Option(help="Level of the voice in dB.")] = 0.0,
    room: Annotated[
        float, typer.Option(help="Level of the room's reverberation in dB.")
    ] = -math.inf,
    noise: Annotated[float, typer.Option(help="Level of the noise in dB.")] = -math.inf,
    metrics: Annotated[
        str,
        typer.Option(help="Names with commas, or 'all'; an unknown name lists them."),
    ] = _DEFAULT_METRICS,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N pairs.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Score enhancement on pairs of files: PESQ, STOI, SI-SDR and more, beside the noisy input.

    Names that hold snrNN, _dry or _rev are also summed up by SNR and by kind. The table goes to
    stdout (to stderr with --json -).
    """
    from truenet import evaluation
    from truenet.metrics import METRICS
    from truenet.peers import PeerEnhance

    if sum(bool(given) for given in (enhanced, model, peer)) > 1:
        raise ValueError("--model, --enhanced and --peer exclude each other: give one of them")
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"{json_file}: there is no folder {json_file.parent}")
    names = list(METRICS) if metrics == "all" else [name.strip() for name in metrics.split(",")]
    pairs = evaluation.find_pairs(clean, noisy, enhanced)[:limit]
    ours = evaluation.ModelEnhance(str(model) if model else None, voice, room, noise)
    enhance = PeerEnhance(peer) if peer else ours
    rows = _with_progress(evaluation.evaluate(pairs, enhance, names, jobs), len(pairs))
    report = evaluation.report(rows, names)
    settings = {"clean": clean, "noisy": noisy, "enhanced": enhanced, "model": model}
    settings_db = {"voice_db": voice, "room_db": room, "noise_db": noise}
    report["settings"] = {name: str(value) for name, value in (settings | settings_db).items()}
    if isinstance(enhance, PeerEnhance):
        report["settings"]["peer"] = enhance.facts()
    if json_file:
        _write_json(report, json_file)
    _print_report(report, to_stderr=json_file == Path("-"))


def _with_progress(rows: "Iterator[Row]", count: int) -> "list[Row]":
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        return list(progress.track(rows, total=count, description="scoring"))


def _write_json(report: dict[str, Any], path: Path) -> None:
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    if path == Path("-"):
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def _print_report(report: dict[str, Any], to_stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=to_stderr, highlight=False)
    if not console.is_terminal:
        console.width = 120  # nothing is cut where a file or a pipe reads it
    console.print(_means(report))
    if report["worst"]:
        console.print(_worst(report))
    unscored = [file for file in report["files"] if file["reasons"]]
    for file in unscored:
        console.print(f"{file['name']}: {'; '.join(file['reasons'])}", markup=False)


def _means(report: dict[str, Any]) -> "Table":
    table = _table("", "", *map(_heading, report["metrics"]))
    for group in report["groups"]:
        scores = [(metric, group["scores"][metric]) for metric in report["metrics"]]
        label = f"{group['name']} ({group['pairs']})"
        for title in ("noisy", "enhanced", "gain"):
            table.add_row(label, title, *(_number(m, s[title], title == "gain") for m, s in scores))
            label = ""
        halves = (_number(m, s["high"] and s["high"] - s["gain"]) for m, s in scores)
        table.add_row("", "± 95 %", *halves, end_section=True)
    return table


def _worst(report: dict[str, Any]) -> "Table":
    table = _table(
        f"least {_heading(report['ranked_by'])} gain", "", *map(_heading, report["metrics"])
    )
    files = {file["name"]: file for file in report["files"]}
    for name in report["worst"]:
        label = name
        for title in ("noisy", "enhanced"):
            numbers = (_number(metric, files[name][title][metric]) for metric in report["metrics"])
            table.add_row(label, title, *numbers, end_section=title == "enhanced")
            label = ""
    return table


def _table(*headings: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number > 0)
    return table


def _heading(metric: str) -> str:
    return _HEADINGS.get(metric, metric.removesuffix("_db").upper().replace("_", "-"))


def _number(metric: str, value: float | None, signed: bool = False) -> str:
    if value is None:
        return "–"
    digits = 3 if "stoi" in metric else 2
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"  # no −0.00
