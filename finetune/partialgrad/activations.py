"""Activations that keep one bit, or eight, of each element for the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from partialgrad.bits import pack_bits, unpack_bits

# SiLU' lies in [−0.0998, 1.0998], GELU' in [−0.1290, 1.1290].
_DERIVATIVE_START, _DERIVATIVE_STEP = -0.13, 1.26 / 255


class TwoSlopes(torch.autograd.Function):
    """slope · x where x ≤ 0 (no slope: zero), x elsewhere; keeps one bit per element."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        slope: Tensor | None,
        inplace: bool,
        forward: Callable[..., Tensor],
    ) -> Tensor:
        positive = (x <= 0).logical_not_() if slope is None else x > 0  # so does PyTorch with NaN
        ctx.save_for_backward(pack_bits(positive), slope)
        ctx.shape, ctx.strides = positive.shape, positive.stride()
        if inplace:
            ctx.mark_dirty(x)
            x.copy_(forward(x))
            return x
        return forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        bits, slope = ctx.saved_tensors
        positive = unpack_bits(bits, ctx.shape, ctx.strides)
        if slope is None:  # ReLU's own gradient: on CPUs `where` takes six times as long
            gradient = torch.ops.aten.threshold_backward(dy, positive.to(dy.dtype), 0)
            return gradient, None, None, None
        return torch.where(positive.ne(0), dy, dy * slope.to(dy.dtype)), None, None, None


class Derivative8Bit(torch.autograd.Function):
    """A smooth activation whose derivative is rounded to 256 steps."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, forward: Callable[..., Tensor], derivative: Callable[..., Tensor]
    ) -> Tensor:
        slope = derivative(torch.ones_like(x), x)
        steps = ((slope - _DERIVATIVE_START) / _DERIVATIVE_STEP).round()
        ctx.save_for_backward(steps.clamp(0, 255).to(torch.uint8))
        return forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (steps,) = ctx.saved_tensors
        return dy * (steps.to(dy.dtype) * _DERIVATIVE_STEP + _DERIVATIVE_START), None, None
