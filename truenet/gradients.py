"""Gradients of one training step."""

from typing import NamedTuple

from torch import Tensor, nn


class Gradients(NamedTuple):
    """What a step found, as tensors: reading one waits for a GPU.

    total, terms: the loss.
    end: (batch, state_size) where the streams ended.
    norm: of all gradients, before they were clipped.
    """

    total: Tensor
    terms: dict[str, Tensor]
    end: Tensor
    norm: Tensor


def gradients(
    module: nn.Module, largest_norm: float, mixture: Tensor, parts: Tensor, start: Tensor
) -> Gradients:
    """Set `grad` of all parameters, clipped; if anything in them is not finite, to zero, all of them.

    An optimizer that steps then moves by its momentum alone; to skip the step would be to wait for a GPU here.

    Args:
        module: a `TrainingStep`, or one that is replicated over processes.
        largest_norm: to which the gradients together are scaled down.
        mixture: (batch, samples).
        parts: (3, batch, samples).
        start: (batch, state_size).
    """
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.grad = None
    total, terms, end = module(mixture, parts, start)
    total.backward()
    norm = nn.utils.clip_grad_norm_(parameters, largest_norm)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)  # the rest was clipped to zero
    return Gradients(total.detach(), terms, end.detach(), norm)
