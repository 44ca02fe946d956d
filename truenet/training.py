"""A training run: a folder with its config, commit, metrics and checkpoints, that can be stopped and resumed.

Batches depend on (seed, rank, step) alone, and a checkpoint holds everything else, so that a resumed run equals one
that was never stopped, bit for bit on a CPU with the same number of threads.
"""

import importlib.util
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from truenet.config import TrainingConfig, from_dict, to_dict
from truenet.gradients import Gradients, gradients
from truenet.grids import GRIDS, Grids, attach
from truenet.matrix_optimizer import MatrixOptimizer
from truenet.mixing import Mixer, MixtureBatches
from truenet.starts import Starts
from truenet.streaming import StreamingTRUNet
from truenet.training_log import Progress, TrainingLog
from truenet.training_step import TrainingStep, denormals_flushed
from truenet.validation import merit, validate
from truenet.weights import load_weights, save_weights

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
BEST_WEIGHTS = "best.safetensors"


class Run:
    """One process of a training run.

    Args:
        config: the whole run.
        folder: where everything is kept.
        mixer: draws the batches.

    Raises:
        ValueError: the folder holds a run of another config.
    """

    def __init__(self, config: TrainingConfig, folder: Path, mixer: Mixer) -> None:
        self.config, self.folder, self.mixer = config, folder, mixer
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.device = (
            torch.device("cuda", self.rank) if torch.cuda.is_available() else torch.device("cpu")
        )
        torch.manual_seed(config.seed)
        self.model, self.before = _initial_model(config)
        self.model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.model.mixed_precision = config.mixed_precision
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            if importlib.util.find_spec("triton"):
                # What lies between two matrix products becomes a few kernels.
                for block in self.model.network.encoder:
                    block.compile(dynamic=False)
        self.average, _ = _initial_model(config)
        self.average.to(self.device).requires_grad_(False).eval()
        self.average.load_state_dict(self.model.state_dict())
        kind = MatrixOptimizer if config.optimizer == "muon" else torch.optim.AdamW
        self.optimizer = kind(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.starts = Starts(config.starts, self.model, config.batch_crops, config.seed + self.rank)
        self.step, self.best = 0, float("-inf")
        torch.manual_seed(config.seed + 1_000_003 * self.rank)
        self._open_folder()

    def _open_folder(self) -> None:
        checkpoint = self.folder / CHECKPOINT
        if self.rank == 0:
            stored = self.folder / "config.json"
            if stored.exists():
                _require_same_config(
                    json.loads(stored.read_text(encoding="utf-8")), self.config, self.folder
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(to_dict(self.config), indent=2) + "\n", encoding="utf-8")
            (self.folder / "commit.txt").write_text(_commit() + "\n", encoding="utf-8")
        if self.world > 1:
            dist.barrier()
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, map_location=self.device, weights_only=True))

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.best = saved["step"], saved["best"]
        torch.set_rng_state(saved["random"][self.rank].cpu())
        self.starts.load_state_dict(saved["starts"][self.rank])

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each in place of the last only once complete."""
        own = [(torch.get_rng_state(), self.starts.state_dict())]
        if self.world > 1:
            gathered: list[Any] = [None] * self.world
            dist.all_gather_object(gathered, own[0])
            own = gathered
        if self.rank:
            return
        temporary = self.folder / (CHECKPOINT + ".part")
        saved = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "random": [random for random, _ in own],
            "starts": [starts for _, starts in own],
        }
        torch.save(saved, temporary)
        os.replace(temporary, self.folder / CHECKPOINT)
        save_weights(self.average, self.folder / WEIGHTS, self._facts())

    def _facts(self) -> dict[str, str]:
        config = self.config
        seconds = self.step * self.world * config.batch_crops * config.mixing.crop_samples
        hours = (
            float(self.before.get("hours_seen", "0")) + seconds / config.model.sample_rate_hz / 3600
        )
        return {
            "hours_seen": f"{hours:.2f}",
            "training_data": config.training_data or "not stated",
            "commit": _commit(),
            "seed": str(config.seed),
            **{name: fact for name, fact in self.before.items() if name == GRIDS},
        }

    def train(
        self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Train to the last step, or until `stopped()`; either way the run is saved."""
        module: nn.Module = TrainingStep(self.model, self.config)
        if self.world > 1:
            module = DistributedDataParallel(module)
        with denormals_flushed(), ExitStack() as stack:
            log = (
                stack.enter_context(TrainingLog(self.folder, self.step)) if self.rank == 0 else None
            )
            for progress in stack.enter_context(closing(self._steps(module))):
                if log:
                    log.write(progress)
                report(progress)
                if self._any(stopped()):
                    break
        self.save()

    def _any(self, stopped: bool) -> bool:
        """Whether any process was asked to stop: all end at the same step."""
        if self.world == 1:
            return stopped
        flag = torch.tensor(float(stopped), device=self.device)
        dist.all_reduce(flag)
        return bool(flag)

    def _steps(self, module: nn.Module) -> Generator[Progress]:
        batches: Any = iter(self._batches())
        try:
            yield from self._steps_of(module, batches)
        finally:
            if self.config.workers:  # else an error waits for them: they ignore what ends them
                batches._shutdown_workers()

    def _steps_of(self, module: nn.Module, batches: Iterator[Any]) -> Iterator[Progress]:
        config = self.config
        first, started, waited = self.step, time.perf_counter(), 0.0
        seconds_a_step = (
            config.batch_crops * config.mixing.crop_samples / config.model.sample_rate_hz
        )
        while self.step < config.steps:
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            mixture, *parts = (part.to(self.device, non_blocking=True) for part in batch)
            rate = learning_rate(config, self.step)
            found = self._update(module, mixture, torch.stack(parts), rate)
            self.step += 1
            validation: dict[str, float] = {}
            if self.step % config.validation_steps == 0 or self.step == config.steps:
                validation = self._validate()
            if self.step % config.checkpoint_steps == 0:
                self.save()
            loss, norm, *terms = torch.stack(
                [found.total, found.norm, *found.terms.values()]
            ).tolist()
            elapsed = time.perf_counter() - started
            done = self.step - first
            yield Progress(
                step=self.step,
                steps=config.steps,
                loss=loss,
                terms=dict(zip(found.terms, terms, strict=True)),
                learning_rate=rate,
                gradient_norm=norm,
                times_real_time=done * seconds_a_step * self.world / elapsed,
                waiting_share=waited / elapsed,
                seconds_left=(config.steps - self.step) * elapsed / done,
                validation=validation,
            )

    def _batches(self) -> DataLoader[Any]:
        config = self.config
        return DataLoader(
            MixtureBatches(self.mixer, config.batch_crops, self.rank),
            batch_size=None,
            sampler=range(self.step, config.steps),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # else it draws from the one that the checkpoint keeps
        )

    def _update(self, module: nn.Module, mixture: Tensor, parts: Tensor, rate: float) -> Gradients:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.starts.rest(self.average, self.step)
        start = self.starts.draw(self.step)
        found = gradients(module, self.config.gradient_norm, mixture, parts, start)
        self.starts.end(found.end)
        self.optimizer.step()
        self._average()
        return found

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the model; a short memory at first, and batch-norm statistics too."""
        keep = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        ours, theirs = self.average.state_dict(), self.model.state_dict()
        names = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [ours[name] for name in names], [theirs[name] for name in names], 1 - keep
        )

    def _validate(self) -> dict[str, float]:
        if not self.config.validation or self.rank:
            return {}
        scores = validate(self.average, Path(self.config.validation))
        if merit(scores) > self.best:
            self.best = merit(scores)
            facts = {name: f"{value:.4f}" for name, value in scores.items()}
            save_weights(self.average, self.folder / BEST_WEIGHTS, {**self._facts(), **facts})
        return scores


def _ignore_signals(_: int) -> None:
    """Of a worker: a signal to the whole group of processes stops the run after its step, which needs the worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, constant, then linear decay to zero over the last `decay_steps`."""
    warm = (step + 1) / max(1, config.warmup_steps)
    left = (config.steps - step) / max(1, config.decay_steps)
    return config.learning_rate * min(1.0, warm, left)


def _initial_model(config: TrainingConfig) -> tuple[StreamingTRUNet, dict[str, str]]:
    """The model to start from, and the facts of its weights; those of whole numbers stay so."""
    if not config.initial_weights:
        return StreamingTRUNet(config.model), {}
    model, facts = load_weights(Path(config.initial_weights))
    if model.config != config.model:
        ours, theirs = to_dict(config.model), to_dict(model.config)
        raise ValueError(
            f"initial_weights {config.initial_weights} belong to another model config (it differs in: "
            f"{', '.join(key for key in ours if ours[key] != theirs[key])}); give theirs as `model`"
        )
    if GRIDS in facts:
        attach(model, Grids.from_text(facts[GRIDS]))
    return model, facts


def _require_same_config(stored: dict[str, Any], config: TrainingConfig, folder: Path) -> None:
    if from_dict(TrainingConfig, stored, str(folder / "config.json")) == config:
        return
    given = to_dict(config)
    changed = [key for key in given if stored.get(key) != given[key]]
    raise ValueError(
        f"{folder} holds a run with another config (it differs in: {', '.join(changed)}); "
        "give a new folder, or initial_weights to go on from its weights"
    )


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
