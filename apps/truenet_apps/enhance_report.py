"""What `enhance` says: progress and messages on standard error, the summary on standard output."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import soundfile

from truenet import __version__
from truenet.modelfile import ModelInfo
from truenet_apps.enhance_file import Result, Settings
from truenet_apps.enhance_plan import PIPE, Failure, Plan, Task


class Report:
    """Collects what became of the inputs.

    Args:
        plan: what is to be done; its failures are the first ones.
        quiet: say nothing but errors.
    """

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.results: list[Result] = []
        self.failures = list(plan.failures)
        self._plan = plan
        self._quiet = quiet

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[float], None]]:
        """A bar with the time left and × real time, where a person is watching.

        Yields:
            What to call with seconds of audio that are done.
        """
        if self._quiet or not sys.stderr.isatty() or not self._plan.tasks:
            yield lambda seconds: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        started = time.perf_counter()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[speed]:.0f}× real time"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            total = _total_seconds(self._plan.tasks)
            line = bar.add_task(_describe(self._plan.tasks), total=total, speed=0.0)

            def advance(seconds: float) -> None:
                done = bar.tasks[0].completed + seconds
                bar.update(line, advance=seconds, speed=done / (time.perf_counter() - started))

            yield advance

    def add(self, outcome: Result | Failure) -> None:
        """Note what became of an input, and tell it."""
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            return
        self.results.append(outcome)
        self._say(_line(outcome))
        for warning in _warnings(outcome):
            self._say(f"enhance: warning: {outcome.input}: {warning}")

    def finish(self) -> int:
        """List what failed; the exit code."""
        for source in self._plan.skipped:
            self._say(f"{source}: skipped, its output exists")
        for failure in self.failures:
            print(f"enhance: {failure.source}: {failure.reason}", file=sys.stderr)
        total = len(self.results) + len(self.failures) + len(self._plan.skipped)
        if self.failures and total > 1:
            print(f"enhance: {len(self.failures)} of {total} inputs failed", file=sys.stderr)
        return 1 if self.failures else 0

    def summary(self, settings: Settings, model: ModelInfo | None) -> str:
        """Everything as one JSON object."""
        faders = {
            "voice": settings.voice_db,
            "room": settings.room_db,
            "noise": settings.noise_db,
        }
        entries = {
            "truenet": __version__,
            "model": None if model is None else {"name": model.name, "version": model.version},
            "faders_db": faders,
            "files": [vars(result) | _speed(result) for result in self.results],
            "skipped": [str(source) for source in self._plan.skipped],
            "failed": [vars(failure) for failure in self.failures],
        }
        return json.dumps(_plain(entries), indent=2, ensure_ascii=False)

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr)


def _line(result: Result) -> str:
    outputs = ", ".join(result.outputs) or "standard output"
    speed = f"{result.times_real_time:.0f}× real time"
    return f"{result.input} → {outputs}  ({result.seconds:.1f} s, {speed})"


def _warnings(result: Result) -> Iterator[str]:
    if result.clipped_samples:
        yield (
            f"{result.clipped_samples} samples are louder than full scale and were clipped; "
            "lower --voice, or write floats: --subtype FLOAT"
        )
    if result.bad_samples:
        yield f"{result.bad_samples} samples were no numbers and were replaced by silence"


def _speed(result: Result) -> dict[str, float]:
    return {"times_real_time": result.times_real_time}


def _plain(value: Any) -> Any:
    """JSON has no infinity: it becomes the text "-inf", which options take as well."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return str(value) if math.isinf(value) else round(value, 3)
    return value


def _describe(tasks: list[Task]) -> str:
    return tasks[0].source.name if len(tasks) == 1 else f"{len(tasks)} files"


def _total_seconds(tasks: list[Task]) -> float | None:
    """Seconds of audio in all inputs; None if one of them does not say."""
    lengths = [_seconds(task.source) for task in tasks]
    return sum(lengths) if all(math.isfinite(length) for length in lengths) else None


def _seconds(source: Path) -> float:
    if source == PIPE:
        return math.inf
    try:
        return float(soundfile.info(source).duration)
    except soundfile.LibsndfileError:
        return math.inf
