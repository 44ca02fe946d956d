"""The ways to fine-tune that are compared."""

import copy
import importlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from partialgrad import dropbp
from partialgrad.adapters import save_adapter
from partialgrad.benchmarks.task import Task
from partialgrad.dropbp.branches import matching
from partialgrad.frozen import freeze_ops
from partialgrad.observe import shared_inputs
from partialgrad.optimizer import PartialAdamW
from partialgrad.rules import plan
from partialgrad.wrap import wrap

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class NotApplicable(Exception):
    """A method that cannot be used here, and why."""


@dataclass(frozen=True)
class Candidate:
    """A model made ready for training in one way.

    Attributes:
        model: what the loss is called with.
        optimizer: of what is trained.
        result_bytes: size of the file that holds what was trained.
        dropping: the DropBP at work.
    """

    model: nn.Module
    optimizer: Optimizer
    result_bytes: Callable[[], int]
    dropping: dropbp.DropBP | None = None

    @property
    def trained(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for group in self.optimizer.param_groups for p in group["params"])


Method = Callable[[Task, torch.device, float], Candidate]


def methods() -> dict[str, Method]:
    """By name, in the order of the report; full fine-tuning is the measure of all."""
    return {
        "full fine-tuning": _full,
        "frozen + head": _head,
        "peft LoRA": _lora,
        "peft MiSS": partial(_columns_of_peft, "MissConfig"),
        "peft PaCA": partial(_columns_of_peft, "PacaConfig"),
        "ours": _ours,
        "ours + freeze_ops": partial(_ours, freeze=True),
        "ours + freeze_ops, 8-bit SiLU/GELU": partial(_ours, freeze=True, compress=True),
        "ours + freeze_ops + DropBP 0.5": partial(_ours, freeze=True, drop_rate=0.5),
        "ours + freeze_ops + DropBP 0.75": partial(_ours, freeze=True, drop_rate=0.75),
    }


def settle(model: nn.Module) -> None:
    """Training mode, but batch norms in evaluation mode: batches of fine-tuning are small, and all
    methods shall be alike in this."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _full(task: Task, device: torch.device, learning_rate: float) -> Candidate:
    model = _copy(task, device).requires_grad_(True)
    return _plain(model, model.parameters(), learning_rate)


def _head(task: Task, device: torch.device, learning_rate: float) -> Candidate:
    model = _copy(task, device).requires_grad_(False)
    for module in matching(model, task.head).values():
        module.requires_grad_(True)
    return _plain(model, model.parameters(), learning_rate)


def _plain(model: nn.Module, parameters: Iterable[nn.Parameter], rate: float) -> Candidate:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    tensors = {str(number): parameter.detach() for number, parameter in enumerate(trained)}
    return Candidate(model, AdamW(trained, rate, weight_decay=0.0), lambda: len(save(tensors)))


def _lora(task: Task, device: torch.device, learning_rate: float) -> Candidate:
    names = _adapted(task, (nn.Linear, *_CONVOLUTIONS))
    options = {"r": task.lora_rank, "lora_alpha": task.lora_rank, "target_modules": names}
    return _peft(task, device, learning_rate, "LoraConfig", options)


def _columns_of_peft(
    config: str, task: Task, device: torch.device, learning_rate: float
) -> Candidate:
    options = {"r": task.columns, "target_modules": _adapted(task, (nn.Linear,))}
    if config == "PacaConfig":
        options["paca_alpha"] = task.columns
    return _peft(task, device, learning_rate, config, options)


def _peft(
    task: Task, device: torch.device, learning_rate: float, config: str, options: dict[str, Any]
) -> Candidate:
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError:
        raise NotApplicable("peft is not installed") from None
    if not hasattr(peft, config):
        raise NotApplicable(f"peft {peft.__version__} does not have it")
    try:
        model = peft.get_peft_model(_copy(task, device), getattr(peft, config)(**options))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise NotApplicable(f"peft cannot adapt this model: {error}") from error

    def result_bytes() -> int:
        return len(save(_contiguous(peft.get_peft_model_state_dict(model))))

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Candidate(model, AdamW(trained, learning_rate, weight_decay=0.0), result_bytes)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _adapted(task: Task, types: tuple[type[nn.Module], ...]) -> list[str]:
    """Names of the layers of these types whose columns the task's rules train."""
    choices = plan(task.model, task.rules).choices
    names = [c.name for c in choices if c.train == "columns" and isinstance(c.layer, types)]
    if not names:
        kinds = ", ".join(kind.__name__ for kind in types)
        raise NotApplicable(f"the model has no {kinds} to adapt")
    return names


def _ours(
    task: Task,
    device: torch.device,
    learning_rate: float,
    freeze: bool = False,
    compress: bool = False,
    drop_rate: float = 0.0,
) -> Candidate:
    model = _copy(task, device)
    if compress and not any(isinstance(m, nn.SiLU | nn.GELU) for m in model.modules()):
        raise NotApplicable("the model has no SiLU or GELU")
    if drop_rate and task.branches is None:
        raise NotApplicable("the model has no branches that a skip bypasses")
    batch = moved(task.training[0], device)
    share = shared_inputs(model, task.rules, lambda: task.loss(model, batch))
    wrap(model, task.rules, share)
    if freeze:
        freeze_ops(model, compress)
    optimizer, dropping = PartialAdamW(model, learning_rate), None
    if drop_rate and task.branches is not None:
        dropping = dropbp.attach(model, dropbp.Policy(task.branches(model), drop_rate))
        dropping.follow(optimizer)

    def result_bytes() -> int:
        with tempfile.TemporaryDirectory() as folder:
            save_adapter(model, Path(folder) / "adapter")
            return (Path(folder) / "adapter").stat().st_size

    return Candidate(model, optimizer, result_bytes, dropping)


def _copy(task: Task, device: torch.device) -> nn.Module:
    return copy.deepcopy(task.model).to(device)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch of nested tuples or lists of tensors on another device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    return type(batch)(moved(part, device) for part in batch)
