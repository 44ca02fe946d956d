"""Run all methods on a task: in turns, so that whatever else the machine does hits all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from partialgrad.benchmarks.methods import Candidate, Method, NotApplicable, methods, moved, settle
from partialgrad.benchmarks.task import Task
from partialgrad.measure import saved_bytes

_WARM_UP_STEPS = 2
_DRAWS = 16  # of DropBP, for the largest memory of a step


@dataclass(frozen=True)
class Settings:
    """How long to measure, and where.

    Attributes:
        device: of all models.
        steps: optimizer steps before quality is measured; the same for all.
        rounds: steps of every method that are timed, in turns.
    """

    device: torch.device
    steps: int = 60
    rounds: int = 20

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rounds < 1:
            raise ValueError("steps and rounds must be at least 1")


@dataclass
class Row:
    """What was measured of one method; None where it was not.

    Attributes:
        method: its name.
        trained: number of trained values.
        step_seconds: mean time of a step; of the processor on the CPU, by the wall clock elsewhere.
        memory_bytes: of the step that keeps most: on the CPU what the forward pass keeps for the backward pass, on a
            GPU the allocator's peak over a step beyond what was there before it.
        result_bytes: size of the file that holds what was trained.
        learning_rate: the one that was best on the validation batches.
        loss: on the test batches after all steps.
        missing: why there are no numbers.
    """

    method: str
    trained: int | None = None
    step_seconds: float | None = None
    memory_bytes: int | None = None
    result_bytes: int | None = None
    learning_rate: float | None = None
    loss: float | None = None
    missing: str = ""


@dataclass
class Result:
    """All methods on one task.

    Attributes:
        task, note: of the task.
        learning_rates: that there were to choose from.
        loss_before: of the pretrained model on the test batches; None if quality was not measured.
        rows: one for each method.
    """

    task: str
    note: str
    learning_rates: list[float]
    loss_before: float | None
    rows: list[Row]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run(task: Task, settings: Settings, say: Callable[[str], None]) -> Result:
    """Measure all methods on a task.

    Args:
        task: what to fine-tune.
        settings: how.
        say: is told what is being done.
    """
    rows, candidates = [], {}
    for name, prepare in methods().items():
        row = Row(name)
        rows.append(row)
        try:
            candidates[name] = _ready(task, prepare, settings, task.learning_rates[0])
        except NotApplicable as reason:
            row.missing = str(reason)
    say(f"{task.name}: memory")
    for row in rows:
        if row.method in candidates:
            candidate = candidates[row.method]
            row.trained, row.result_bytes = candidate.trained, candidate.result_bytes()
            row.memory_bytes = _memory_bytes(task, candidate, settings.device)
    say(f"{task.name}: time")
    seconds = _step_seconds(task, candidates, settings)
    for row in rows:
        row.step_seconds = seconds.get(row.method)
    del candidates
    before = None
    if task.test:
        before = _mean_loss(task, task.model.to(settings.device), task.test, settings.device)
        for row in rows:
            if not row.missing:
                say(f"{task.name}: quality of {row.method}")
                _train(task, methods()[row.method], settings, row)
    return Result(task.name, task.note, list(task.learning_rates), before, rows)


def _ready(task: Task, prepare: Method, settings: Settings, learning_rate: float) -> Candidate:
    with torch.random.fork_rng():  # the same numbers for all that start from random ones
        torch.manual_seed(0)
        candidate = prepare(task, settings.device, learning_rate)
    settle(candidate.model)
    return candidate


def _step(task: Task, candidate: Candidate, number: int, device: torch.device) -> None:
    batch = moved(task.training[number % len(task.training)], device)
    task.loss(candidate.model, batch).backward()
    candidate.optimizer.step()
    candidate.optimizer.zero_grad()


def _memory_bytes(task: Task, candidate: Candidate, device: torch.device) -> int:
    draws = 1 if candidate.dropping is None else _DRAWS
    return max(_memory_of_step(task, candidate, step, device) for step in range(draws))


def _memory_of_step(task: Task, candidate: Candidate, step: int, device: torch.device) -> int:
    if candidate.dropping is not None:
        candidate.dropping.step = step
    batch = moved(task.training[0], device)
    if device.type != "cuda":
        return saved_bytes(lambda: task.loss(candidate.model, batch), candidate.model)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    task.loss(candidate.model, batch).backward()
    peak = torch.cuda.max_memory_allocated(device)
    candidate.optimizer.zero_grad()
    return peak - before


def _step_seconds(
    task: Task, candidates: Mapping[str, Candidate], settings: Settings
) -> dict[str, float]:
    sums = dict.fromkeys(candidates, 0.0)
    for number in range(_WARM_UP_STEPS + settings.rounds):
        for name, candidate in candidates.items():
            start = _now(settings.device)
            _step(task, candidate, number, settings.device)
            if number >= _WARM_UP_STEPS:
                sums[name] += _now(settings.device) - start
    return {name: total / settings.rounds for name, total in sums.items()}


def _now(device: torch.device) -> float:
    """Seconds. On the CPU of this process alone: other work on the machine does not count."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _train(task: Task, prepare: Method, settings: Settings, row: Row) -> None:
    """The test loss with the learning rate that is best on the validation batches."""
    best = float("inf")
    for learning_rate in task.learning_rates:
        candidate = _ready(task, prepare, settings, learning_rate)
        for number in range(settings.steps):
            _step(task, candidate, number, settings.device)
        loss = _mean_loss(task, candidate.model, task.validation, settings.device)
        if loss < best:
            best, row.learning_rate = loss, learning_rate
            row.loss = _mean_loss(task, candidate.model, task.test, settings.device)


@torch.no_grad()
def _mean_loss(task: Task, model: Any, batches: Any, device: torch.device) -> float:
    model.eval()
    losses: list[Tensor] = [task.loss(model, moved(batch, device)) for batch in batches]
    return float(torch.stack(losses).mean())
