"""`truenet train`: one config file, one folder, and it can be stopped and started again."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truenet_apps.memory import keep_memory
from truenet_apps.signals import StopOnSignal

if TYPE_CHECKING:
    from truenet.training_log import Progress


def train(
    config: Annotated[Path, typer.Argument(help="JSON file: see recipes/ and docs/TRAINING.md.")],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", "-o", help="Run folder; runs/NAME_OF_CONFIG if left out."),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the network; 0 takes all cores.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Keep decoded recordings here, for faster starts.")
    ] = None,
    every: Annotated[int, typer.Option(help="Steps between lines of progress.")] = 20,
) -> None:
    """Train a model, or go on with a run that was stopped. Ctrl-C saves."""
    keep_memory()
    import torch
    from torch import distributed as dist

    from truenet.config import TrainingConfig, read_config
    from truenet.mixing import Mixer
    from truenet.training import Run

    settings = read_config(TrainingConfig, config)
    if threads:
        torch.set_num_threads(threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    mixer = Mixer.from_config(settings.mixing, settings.seed, cache)
    run = Run(settings, folder or Path("runs") / config.stem, mixer)
    if run.rank == 0:
        typer.echo(f"{run.folder}: step {run.step} of {settings.steps}", err=True)
    with StopOnSignal("stopping after this step, then the run is saved") as stop:
        run.train(_Reporter(every if run.rank == 0 else 0), lambda: stop.asked)
    if run.rank == 0:
        typer.echo(f"saved in {run.folder} at step {run.step}", err=True)
    if dist.is_initialized():
        dist.destroy_process_group()
    if stop.asked:
        raise typer.Exit(130)


class _Reporter:
    """Lines of progress on stderr."""

    def __init__(self, every: int) -> None:
        self.every = every

    def __call__(self, progress: "Progress") -> None:
        if not self.every:
            return
        if progress.step % self.every == 0 or progress.step == progress.steps:
            hours, seconds = divmod(int(progress.seconds_left), 3600)
            typer.echo(
                f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
                f"gradient {progress.gradient_norm:.2f}  {progress.times_real_time:.1f}× real time  "
                f"waiting for data {progress.waiting_share:.0%}  left {hours}:{seconds // 60:02d} h",
                err=True,
            )
        if progress.validation:
            typer.echo(f"validation {json.dumps(progress.validation)}", err=True)
