"""`truenet adapt`: the model, made better in one place, from recordings of its noise."""

import os
import sys
from typing import TYPE_CHECKING

import typer

from truenet_apps import adapt_options as options
from truenet_apps.memory import keep_memory
from truenet_apps.signals import StopOnSignal

if TYPE_CHECKING:
    from truenet_apps.adapt_job import Job
    from truenet_apps.adapt_run import Progress

NO_SUCCESS, STOPPED = 3, 130
GOES_ON = "the same command (without --overwrite) goes on"


def adapt(
    target: options.Target,
    noise: options.Noise = None,
    rooms: options.Rooms = None,
    speech: options.Speech = None,
    pairs: options.Pairs = None,
    unpaired: options.Unpaired = None,
    snr: options.Snr = None,
    method: options.Method = None,
    rank: options.Rank = None,
    steps: options.Steps = None,
    minutes: options.Minutes = None,
    seed: options.Seed = None,
    config: options.Config = None,
    weights: options.Weights = None,
    threads: options.Threads = 0,
    export: options.Export = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Make the model better in one place, from recordings of its noise, on a CPU.

    Ctrl-C keeps the best so far, and the same command goes on. Writes the adapter, the ready model (for
    enhance --model) and a report on recordings that were held out. Exits with 3 where it did not help.
    """
    if (noise is None) == (pairs is None):
        raise ValueError("give --noise FOLDER, or --pairs CLEAN NOISY")
    if target.suffix != ".adapter":
        raise ValueError(f"{target}: an adapter ends in .adapter")
    if steps is not None and minutes is not None:
        raise ValueError("--steps and --minutes exclude each other: give one of them")
    keep_memory()
    import torch
    from torch import distributed as dist

    from truenet_apps.adapt_job import Job

    if threads:
        torch.set_num_threads(threads)
    if "WORLD_SIZE" in os.environ:  # by torchrun: processes share the crops of a step
        dist.init_process_group("gloo")
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    settings = {"method": method, "rank": rank, "steps": steps, "seed": seed, "snr_db": snr}
    given = {name: value for name, value in settings.items() if value is not None}
    job = Job(target, config, given, weights, _say if is_first else _say_nothing, overwrite, export)
    job.open(noise, pairs, speech, rooms, minutes, unpaired)
    finished = _train(job, is_first)
    if dist.is_initialized():
        dist.destroy_process_group()
    if not is_first:
        return
    try:
        _end(job, finished)
    except KeyboardInterrupt:
        _say(f"interrupted; what was learned is kept, and {GOES_ON}")
        raise typer.Exit(STOPPED) from None


def _train(job: "Job", is_shown: bool) -> bool:
    """Go on to the last step; False where a signal stopped it before."""
    from truenet.training_step import denormals_flushed
    from truenet_apps.adapt_run import any_asked

    reporter = _Reporter(is_shown)
    asking = StopOnSignal("stopping after this step, then the best so far is kept")
    try:
        with asking as stop, denormals_flushed():
            return job.adaptation.train(reporter, lambda: any_asked(stop.asked))
    finally:
        reporter.close()


def _end(job: "Job", finished: bool) -> None:
    """Write what was learned, and the report of a run that went to its end."""
    if finished:
        job.choose_strength()
    job.write_model()
    if not finished:
        _say(
            f"stopped at step {job.adaptation.step}; this is all that was learned, at strength "
            f"{job.choice.strength:g}. {GOES_ON.capitalize()}; it chooses the strength and reports at its end"
        )
        raise typer.Exit(STOPPED)
    problems = job.report()
    for problem in problems:
        _say(f"no success: {problem}.")
    if problems:
        raise typer.Exit(NO_SUCCESS)
    _say(f"better here. Use it: enhance --model {job.model_path} FILE")


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _say_nothing(message: str) -> None:
    """Of processes but the first."""


class _Reporter:
    """A bar where there is a terminal, else a line at every look at both domains; nothing where it is not shown."""

    def __init__(self, is_shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        self.is_shown, self.is_live = is_shown, is_shown and sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), console=console, disable=not self.is_live
        )
        self.task = self.bar.add_task("adapting", total=None)
        self.bar.start()
        self._last = -1

    def __call__(self, progress: "Progress") -> None:
        text = describe(progress)
        self.bar.update(self.task, total=progress.steps, completed=progress.step, description=text)
        if self.is_shown and not self.is_live and progress.watched.step != self._last:
            _say(text)
        self._last = progress.watched.step

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


def describe(progress: "Progress") -> str:
    """One line: where it is, both watched losses, speed and time left."""
    watched = progress.watched
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return (
        f"step {progress.step}/{progress.steps}  loss here {watched.new:.3f}  elsewhere {watched.old:.3f}"
        f"{'  (best)' if progress.is_best else ''}  {progress.times_real_time:.1f}× real time  "
        f"left {minutes}:{seconds:02d}"
    )
