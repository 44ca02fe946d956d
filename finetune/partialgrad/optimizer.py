"""AdamW on trained columns only (arXiv 1711.05101), writing them into the weights at every step.

Moments and master copy are those of the columns, in 32 bits. Weight decay pulls everything towards its pretrained
value: the columns because their parameter is the difference, parameters that are trained in full explicitly.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from partialgrad.layers import all_columns
from partialgrad.sharding import part_of
from partialgrad.wrap import wrapping_of, write


class PartialAdamW(torch.optim.AdamW):
    """AdamW for a wrapped model.

    Args:
        model: wrapped.
        lr: learning rate.
        weight_decay: pull towards the pretrained values.
        options: of `torch.optim.AdamW` (betas, eps, foreach, fused...).

    Raises:
        ValueError: the model is not wrapped.
    """

    def __init__(
        self, model: nn.Module, lr: float = 1e-3, weight_decay: float = 0.0, **options: Any
    ) -> None:
        wrapping_of(model)
        self._model = model
        columns = [columns.delta for _, _, columns in all_columns(model)]
        full = [p for n, p in model.named_parameters() if n in wrapping_of(model).originals]
        groups: list[dict[str, Any]] = [{"params": columns, "weight_decay": weight_decay}]
        groups += [{"params": full, "weight_decay": 0.0, "decay_to_origin": weight_decay}]
        super().__init__([g for g in groups if g["params"]], lr=lr, weight_decay=0.0, **options)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, after which all weights are up to date.

        Raises:
            ValueError: the model was unwrapped or wrapped again since this optimizer was built.
        """
        check_optimizer(self._model, self)
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._decay_to_origin()
        super().step()
        write(self._model)
        return None if closure is None else loss

    @torch.no_grad()
    def _decay_to_origin(self) -> None:
        originals = wrapping_of(self._model).originals
        names = {parameter: name for name, parameter in self._model.named_parameters()}
        for group in self.param_groups:
            rate = group["lr"] * group.get("decay_to_origin", 0.0)
            for parameter in group["params"] if rate else ():
                if parameter.grad is not None:
                    original = part_of(originals[names[parameter]], parameter)
                    parameter.lerp_(original.to(parameter.dtype), float(rate))


def check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """See that an optimizer, of any kind, trains exactly what `wrap` left trainable.

    Raises:
        ValueError: it was built before `wrap` (or before another `wrap`), or the model is not wrapped.
    """
    wrapping_of(model)
    held: set[Tensor] = {p for group in optimizer.param_groups for p in group["params"]}
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    if held & trained != trained or any(p not in trained for p in held if p.requires_grad):
        raise ValueError(
            "the optimizer does not hold what is trained in this model: build it after wrap(model, rules) "
            "(after fully_shard too, and after the model.reshard() that follows a pass without gradients)"
        )
