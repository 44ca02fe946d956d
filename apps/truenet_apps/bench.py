"""`truenet bench`: how fast model files are on this machine, side by side."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from truenet.modelfile import ModelFile

_SECONDS_A_FILE = 4.0  # of calls, for each number of frames
_FREE = 0.99  # share of a core below which other programs ran


@dataclasses.dataclass
class Runner:
    """Something to time: `call` processes so many frames of `frame_ms` each."""

    name: str
    frame_ms: float
    load_ms: float
    call: Callable[[int], None]


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Model files (.onnx); the one in the package.")
    ] = None,
    frames: Annotated[
        list[int] | None, typer.Option(min=1, help="Frames a call; repeat for several. [1, 32]")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE.onnx of gtcrn, dtln (two files, with a comma) or fastenhancer, at one frame a call."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")] = False,
) -> None:
    """Time of a frame, one thread, the files taking turns in one run: read the ratios.

    How much of a core this run got says whether others ran beside it: below 99 % compare processor times only.
    """
    begin = time.perf_counter()
    import onnxruntime

    import_ms = _since(begin)
    ours, peers = _open(models or [], peer or [])
    rows = []
    began = (time.perf_counter(), time.process_time())
    for count in frames or [1, 32]:
        rows += _measure([*ours, *peers] if count == 1 else ours, count)
    share = (time.process_time() - began[1]) / (time.perf_counter() - began[0])
    loads = {runner.name: runner.load_ms for runner in [*ours, *peers]}
    if as_json:
        report = {
            "onnxruntime": onnxruntime.__version__,
            "onnxruntime_import_ms": import_ms,
            "share_of_a_core": round(share, 3),
            "load_ms": loads,
            "frames": rows,
        }
        typer.echo(json.dumps(report, indent=2))
    else:
        _print_table(rows, loads)
        typer.echo(f"onnxruntime {onnxruntime.__version__}: imported in {import_ms} ms")
        busy = "" if share > _FREE else ": others ran beside it, compare processor times only"
        typer.echo(f"this run had {share:.0%} of a core{busy}")


def _open(models: list[Path], peers: list[str]) -> tuple[list[Runner], list[Runner]]:
    from truenet.modelfile import SHIPPED_MODEL, ModelFile
    from truenet_apps.bench_peers import PeerGraphs

    ours, theirs = [], []
    for path in models or [SHIPPED_MODEL]:
        begin = time.perf_counter()
        file = ModelFile(path)
        frame_ms = 1e3 * file.info.hop_samples / file.info.sample_rate_hz
        ours.append(Runner(str(path), frame_ms, _since(begin), _calls(file)))
    for given in peers:
        begin = time.perf_counter()
        opened = PeerGraphs(given)
        theirs.append(Runner(opened.name, opened.frame_ms, _since(begin), opened.run))
    return ours, theirs


def _since(begin: float) -> float:
    return round(1e3 * (time.perf_counter() - begin), 1)


def _calls(file: "ModelFile") -> Callable[[int], None]:
    """Calls of a model file with noise, each going on from the state of the last."""
    import numpy as np

    generator = np.random.default_rng(0)
    faders = np.array([[1, 0, 0]], np.float32)
    state = file.first_state(1)

    def call(frames: int) -> None:
        nonlocal state
        samples = frames * file.info.hop_samples
        audio = 0.1 * generator.standard_normal((1, samples), np.float32)
        _, state = file.run(audio, state, faders)

    return call


def _measure(runners: list[Runner], frames: int) -> list[dict[str, object]]:
    """Milliseconds a frame of every runner, median and 99th percentile; × real time by the median.

    `median_processor_ms` leaves out the time in which other programs had the core.
    """
    import numpy as np

    seconds: list[list[tuple[float, float]]] = [[] for _ in runners]
    end = time.perf_counter() + _SECONDS_A_FILE * len(runners)
    while time.perf_counter() < end:
        for runner, taken in zip(runners, seconds, strict=True):
            begin, working = time.perf_counter(), time.thread_time()
            runner.call(frames)
            taken.append((time.perf_counter() - begin, time.thread_time() - working))
    rows: list[dict[str, object]] = []
    for runner, taken in zip(runners, seconds, strict=True):
        warm = np.array(taken[len(taken) // 10 :])
        per_frame_ms, working_ms = 1e3 * warm.T / frames
        median_ms = float(np.median(per_frame_ms))
        rows.append(
            {
                "model": runner.name,
                "frames_a_call": frames,
                "frame_ms": runner.frame_ms,
                "median_ms": round(median_ms, 4),
                "p99_ms": round(float(np.quantile(per_frame_ms, 0.99)), 4),
                "median_processor_ms": round(float(np.median(working_ms)), 4),
                "times_real_time": round(runner.frame_ms / median_ms, 1),
            }
        )
    return rows


def _print_table(rows: list[dict[str, object]], loads: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    name_column = Column("model", overflow="fold", min_width=14)
    titles = ("frames a call", "ms a frame", "median ms", "99 % ms", "processor ms", "× real time")
    table = Table(name_column, *titles, "load ms")
    columns = ("frames_a_call", "frame_ms", "median_ms", "p99_ms", "median_processor_ms")
    for row in rows:
        name = str(row["model"])
        cells = (str(row[column]) for column in (*columns, "times_real_time"))
        table.add_row(Path(name).name, *cells, str(loads[name]))
    Console().print(table)
