"""What a comparison needs to know about a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from partialgrad.dropbp.branches import Branches
from partialgrad.rules import Rule


@dataclass(frozen=True)
class Task:
    """A pretrained model, and data that it does not know yet.

    Attributes:
        name: heading in the report.
        model: pretrained, on the CPU; every method trains a copy.
        loss: of a model and a batch, a scalar. It must call the model itself, not its parts.
        training: batches (nested tuples or lists of tensors); a step takes the next, round and round.
        rules: what partial methods train; peft's adapt the linear and convolutional layers among these.
        head: patterns of the modules that "frozen + head" trains.
        validation: batches that choose each method's learning rate; empty, and only time and memory are measured.
        test: batches that quality is reported on.
        learning_rates: to choose from.
        lora_rank: of peft's LoRA. The PaCA paper pairs r columns with a LoRA of half the rank.
        columns: r of peft's MiSS and PaCA.
        branches: finds the residual branches or U-Net levels for DropBP; None leaves DropBP out.
        note: a sentence for the report.
    """

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, Any], Tensor]
    training: Sequence[Any]
    rules: Sequence[Rule]
    head: Sequence[str]
    validation: Sequence[Any] = ()
    test: Sequence[Any] = ()
    learning_rates: Sequence[float] = (5e-4, 2e-3, 8e-3)
    lora_rank: int = 8
    columns: int = 16
    branches: Callable[[nn.Module], Branches] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.training:
            raise ValueError(f"{self.name}: there are no training batches")
        if bool(self.validation) != bool(self.test):
            raise ValueError(f"{self.name}: give batches for both validation and test, or neither")
