"""See that no optimizer of PyTorch steps over trained columns that it does not hold.

One that was built before `wrap` would train nothing, in silence, and nothing in a model knows its optimizers. So one
hook sees the first step of every optimizer, whatever it trains.
"""

from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from partialgrad.layers import all_columns


def watch_optimizers(model: nn.Module) -> None:
    """Check the optimizers of a model that has just been wrapped, each at its first step."""
    _checked()[model] = WeakSet()


def forget_optimizers(model: nn.Module) -> None:
    """Let them do again what they want."""
    _checked().pop(model, None)


@cache
def _checked() -> WeakKeyDictionary[nn.Module, WeakSet[Optimizer]]:
    """Wrapped models and the optimizers that were found right for them; made with the hook, at the first `wrap`."""
    models: WeakKeyDictionary[nn.Module, WeakSet[Optimizer]] = WeakKeyDictionary()

    def check(optimizer: Optimizer, *_: Any) -> None:
        for model, optimizers in list(models.items()):
            if optimizer not in optimizers:
                _check(model, optimizer)
                optimizers.add(optimizer)

    register_optimizer_step_pre_hook(check)
    return models


def _check(model: nn.Module, optimizer: Optimizer) -> None:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, weight, columns in all_columns(model):
        if id(weight) in held and id(columns.delta) not in held:
            raise ValueError(
                f"the optimizer was built before wrap: it holds {name}, but not its trained columns. Build it after "
                "wrap(model, rules), from the parameters that require a gradient"
            )
        columns.write(weight)  # if it was sharded after wrap, the columns leave it now
