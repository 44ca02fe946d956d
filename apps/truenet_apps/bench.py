"""`truenet bench`: how fast model files are on this machine, side by side."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from truenet.modelfile import ModelFile

_SECONDS_A_FILE = 4.0  # of calls, for each number of frames


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Model files (.onnx); the one in the package.")
    ] = None,
    frames: Annotated[
        list[int] | None, typer.Option(min=1, help="Frames a call; repeat for several. [1, 32]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")] = False,
) -> None:
    """Time of a frame, one thread, the files taking turns in one run: read the ratios."""
    from truenet.modelfile import SHIPPED_MODEL, ModelFile

    started = [time.perf_counter()]
    files = []
    for path in models or [SHIPPED_MODEL]:
        files.append(ModelFile(path))
        started.append(time.perf_counter())
    rows = [
        {"model": str(file.path), "frames_a_call": count, **times}
        for count in frames or [1, 32]
        for file, times in zip(files, _measure(files, count), strict=True)
    ]
    loads = {
        str(file.path): round(1e3 * (end - begin), 1)
        for file, begin, end in zip(files, started, started[1:], strict=False)
    }
    if as_json:
        typer.echo(json.dumps({"load_ms": loads, "frames": rows}, indent=2))
    else:
        _print_table(rows, loads)


def _measure(files: "list[ModelFile]", frames: int) -> Iterator[dict[str, float]]:
    """Milliseconds a frame of every file, median and 99th percentile; × real time by the median."""
    import numpy as np

    generator = np.random.default_rng(0)
    faders = np.array([[1, 0, 0]], np.float32)
    states = [file.first_state(1) for file in files]
    seconds: list[list[float]] = [[] for _ in files]
    while sum(map(sum, seconds)) < _SECONDS_A_FILE * len(files):
        for index, file in enumerate(files):
            samples = frames * file.info.hop_samples
            audio = 0.1 * generator.standard_normal((1, samples), np.float32)
            begin = time.perf_counter()
            _, states[index] = file.run(audio, states[index], faders)
            seconds[index].append(time.perf_counter() - begin)
    for file, taken in zip(files, seconds, strict=True):
        per_frame_ms = 1e3 * np.array(taken[len(taken) // 10 :]) / frames  # the first ones warm up
        frame_ms = 1e3 * file.info.hop_samples / file.info.sample_rate_hz
        yield {
            "median_ms": round(float(np.median(per_frame_ms)), 4),
            "p99_ms": round(float(np.quantile(per_frame_ms, 0.99)), 4),
            "times_real_time": round(frame_ms / float(np.median(per_frame_ms)), 1),
        }


def _print_table(rows: list[dict[str, object]], loads: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "frames a call", "median ms", "99 % ms", "× real time", "load ms")
    for row in rows:
        cells = [str(row[name]) for name in ("frames_a_call", "median_ms", "p99_ms")]
        name = str(row["model"])
        table.add_row(Path(name).name, *cells, str(row["times_real_time"]), str(loads[name]))
    Console().print(table)
