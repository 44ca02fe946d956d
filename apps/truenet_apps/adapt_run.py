"""The loop of an adaptation: crops of both domains, a watched loss for each, the best step kept, checkpoints.

Crop k of step s is drawn from (seed, s, k) alone and every crop counts the same in the loss, so a resumed run equals
one that was never stopped, and two processes that share a step's crops equal one that takes all of them.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from truenet.grids import Grids
from truenet.mixing import Mixture
from truenet.streaming import StreamingTRUNet
from truenet.training_step import estimate_parts
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_domains import Domain
from truenet_apps.adapt_losses import crop_losses, watched_loss, with_targets
from truenet_apps.adapt_methods import Training, start
from truenet_apps.adapt_starts import fill

CHECKPOINT = "checkpoint.pt"
CLEARLY_FASTER = 0.8


@dataclasses.dataclass(frozen=True)
class Watched:
    """Losses on mixtures that are not trained on, after a step; `training` is the mean since the last."""

    step: int
    new: float
    old: float
    training: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run tells after a step; `watched` is its last look at both domains."""

    step: int
    steps: int
    watched: Watched
    is_best: bool
    times_real_time: float
    seconds_left: float


class Adaptation:
    """One process of an adaptation.

    Args:
        config: see there.
        model: the base, changed in place.
        new, old: the domains.
        folder: for the checkpoint; None keeps none.
        warn: told of what went wrong without ending the run.
        grids: of a base of whole numbers.
    """

    def __init__(
        self,
        config: AdaptConfig,
        model: StreamingTRUNet,
        new: Domain,
        old: Domain,
        folder: Path | None = None,
        warn: Callable[[str], None] = lambda _: None,
        grids: Grids | None = None,
    ) -> None:
        self.config, self.model, self.new, self.old = config, model, new, old
        self.folder, self.warn = folder, warn
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.starts = fill(model, new.train, config.starts, config.seed)
        model.mixed_precision = config.precision == "bfloat16"
        self.training: Training = start(model, config, grids)
        self.average = self.values()
        self.step = 0
        self.recent: list[float] = []
        self._watched_mixtures = [
            domain.watch.batch(0, config.watch_crops) for domain in (new, old)
        ]
        self.history: list[Watched] = []
        self.best = self.values()
        self.best_step = 0
        if folder is not None and (folder / CHECKPOINT).exists():
            self._restore(torch.load(folder / CHECKPOINT, weights_only=True))
        else:
            self._watch()

    def values(self) -> dict[str, Tensor]:
        """Copies of what is trained."""
        return {n: p.detach().clone() for n, p in self.training.parameters.items()}

    def choose_precision(self) -> float:
        """Settle by measurement what "auto" is on this processor; the seconds of a step."""
        seconds = self.seconds_a_step()
        if self.config.precision != "auto":
            return seconds
        self.model.mixed_precision = True
        faster = self.seconds_a_step()
        if faster < CLEARLY_FASTER * seconds:
            self.config = dataclasses.replace(self.config, precision="bfloat16")
            self.history.clear()  # compared are losses of one precision
            self._watch()
            return faster
        self.config = dataclasses.replace(self.config, precision="float32")
        self.model.mixed_precision = False
        return seconds

    def seconds_a_step(self) -> float:
        """Measured on a step that changes nothing; what the first process measured, for all of them."""
        self._gradients(0)  # the first one is slower
        started = time.perf_counter()
        self._gradients(0)
        seconds = torch.tensor(time.perf_counter() - started, dtype=torch.float64)
        if self.world > 1:
            dist.broadcast(seconds, 0)
        return seconds.item()

    def batch(self, step: int) -> Mixture:
        """This process's crops of a step: first those of the new domain, then those of the original one."""
        config = self.config
        crops = [
            (self.old if crop < config.old_crops else self.new).train.batch(
                step * config.batch_crops + crop, 1
            )
            for crop in self._own_crops()
        ]
        return Mixture(*(torch.cat(tensors) for tensors in zip(*crops, strict=True)))

    def _own_crops(self) -> range:
        return range(self.rank, self.config.batch_crops, self.world)

    def train(
        self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Go on to the last step, or until `stopped()`; False where it was stopped."""
        for progress in self._steps():
            report(progress)
            if stopped():
                self.save()
                return False
        return True

    def take_best(self, strength: float = 1.0) -> None:
        """Take the average that had the best watched losses, or a share of what it learned."""
        self.training.resume(self.training.weakened(self.best, strength), self.best_step)

    def _steps(self) -> Iterator[Progress]:
        config, first, started = self.config, self.step, time.perf_counter()
        seconds = config.batch_crops * config.mixing.crop_samples / self.model.config.sample_rate_hz
        while self.step < config.steps:
            for group in self.training.optimizer.param_groups:
                group["lr"] = config.rate(self.step)
            self.recent.append(self._gradients(self.step))
            parameters = self.training.parameters.values()
            norm = torch.nn.utils.clip_grad_norm_(parameters, config.gradient_norm)
            if norm.isfinite():
                self.training.update()
            self._average()
            self.step += 1
            is_best = False
            if self.step % config.watch_steps == 0 or self.step == config.steps:
                is_best = self._watch()
                self.save()
            elapsed, done = time.perf_counter() - started, self.step - first
            yield Progress(
                self.step,
                config.steps,
                self.history[-1],
                is_best,
                done * seconds / elapsed,
                (config.steps - self.step) * elapsed / done,
            )

    def _gradients(self, step: int) -> float:
        """Gradients of a step's loss, the mean over the crops of all processes; and that loss."""
        self.training.optimizer.zero_grad()
        starts = torch.cat([self.starts.draw(step, crop) for crop in self._own_crops()])
        mixture = self.batch(step)
        old = sum(crop < self.config.old_crops for crop in self._own_crops())
        if old:
            parts = self._made_by_the_base(mixture.mixture[:old], starts[:old])
            mixture = with_targets(mixture, parts)
        losses = crop_losses(self.model, mixture, self.config.loss, starts)
        total = losses.sum() / self.config.batch_crops
        total.backward()
        self.training.pull_gradients()
        value = total.detach()
        if self.world > 1:
            for parameter in self.training.parameters.values():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
            dist.all_reduce(value)
        return value.item()

    @torch.no_grad()
    def _made_by_the_base(self, crops: Tensor, starts: Tensor) -> Tensor:
        """(3, crops, samples) targets that keep what the base does (arXiv 1606.09282).

        The true parts would teach the few recordings of the original domain that are at hand, and cost others.
        """
        trained = self.values()
        self.training.resume(self.training.weakened(trained, 0.0), self.step)
        parts, _ = estimate_parts(self.model, crops.to(starts), starts)
        self.training.resume(trained, self.step)
        return parts

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards what is trained; a short memory at first."""
        keep = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self.training.parameters.items():
            self.average[name].lerp_(parameter, 1 - keep)

    def _watch(self) -> bool:
        """Look at both domains with the average; whether it is the best so far.

        The best has the lowest loss in the new domain plus what the original one lost.
        """
        trained = self.values()
        self.training.resume(self.average, self.step)
        new, old = (watched_loss(self.model, m, self.config.loss) for m in self._watched_mixtures)
        self.training.resume(trained, self.step)
        recent = sum(self.recent) / len(self.recent) if self.recent else float("nan")
        self.recent.clear()
        seen = Watched(self.step, new, old, recent)
        is_best = not self.history or self._cost(seen) < min(map(self._cost, self.history))
        self.history.append(seen)
        if is_best:
            self.best = {name: value.clone() for name, value in self.average.items()}
            self.best_step = self.step
        return is_best

    def _cost(self, seen: Watched) -> float:
        start = self.history[0].old if self.history else seen.old
        return seen.new + max(0.0, seen.old - start)

    def save(self) -> None:
        """Write the checkpoint in place of the last; a disk that is full costs the checkpoint, not the run."""
        if self.folder is None or self.rank:
            return
        state = {
            "values": self.values(),
            "average": self.average,
            "optimizer": self.training.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "recent": self.recent,
            "history": [dataclasses.astuple(seen) for seen in self.history],
        }
        temporary = self.folder / (CHECKPOINT + ".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(state, temporary)
            os.replace(temporary, self.folder / CHECKPOINT)
        except (OSError, RuntimeError) as error:  # torch's writer raises its own
            temporary.unlink(missing_ok=True)
            self.warn(f"no checkpoint at step {self.step} ({error}); going on without it")

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.best_step, self.best = state["step"], state["best_step"], state["best"]
        self.training.resume(state["values"], self.step)
        self.average = state["average"]
        self.training.optimizer.load_state_dict(state["optimizer"])
        self.recent = state["recent"]
        self.history = [Watched(*seen) for seen in state["history"]]


def any_asked(asked: bool) -> bool:
    """Whether any of the processes was asked to stop: all stop after the same step."""
    if not dist.is_initialized():
        return asked
    flag = torch.tensor(int(asked))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)
