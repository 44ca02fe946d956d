"""Linear operators with a frozen weight whose backward pass gives only what was asked for.

y = W x + b is linear in W, so the gradient of chosen input columns W[:, S] needs x[:, S] and nothing else, and the
gradient of x needs W and nothing else (PaCA, arXiv 2503.01905; convolutions: the same with `convolution_backward`).
A frozen operator is the case of no column at all: PyTorch's own convolutions save their whole input even then.

`partial_operator` is the one place where this is computed; a faster kernel belongs behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Operator(Protocol):
    """What y = W x is, apart from W and x."""

    def channel_dim(self, x: Tensor) -> int:
        """The dimension of x (or y) that holds the channels."""
        ...

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x, without bias."""
        ...

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of an x of this shape. The values of x are not needed."""
        ...

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of a weight of this shape that was applied to x."""
        ...


@dataclass(frozen=True)
class Dense:
    """y[..., o] = Σ W[o, c] x[..., c]."""

    def channel_dim(self, x: Tensor) -> int:
        """The last dimension."""
        return x.dim() - 1

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x for x of shape (..., inputs)."""
        return F.linear(x, weight)

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """dY W, as one product: of a dY with gaps in memory, PyTorch would copy W once for each row of its batch."""
        return (dy.reshape(-1, dy.shape[-1]) @ weight.to(dy.dtype)).view(shape)

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """dYᵀ X, summed over all but the last dimension."""
        return dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])


@dataclass(frozen=True)
class Convolution:
    """Convolution of any number of spatial dimensions, also transposed and grouped.

    x is (batch, channels, *spatial). Weights are (outputs, inputs / groups, *kernel), transposed ones
    (inputs, outputs / groups, *kernel), as in PyTorch.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def channel_dim(self, x: Tensor) -> int:
        """The one before the spatial dimensions."""
        return x.dim() - 1 - len(self.stride)

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution without bias."""
        return torch.convolution(x, weight, None, *self._arguments())

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of x. Memory of its shape and layout, never touched, stands for the values.

        A tensor of stride zero would need none, but CPU kernels copy it, and it hides the channels-last order of dY.
        """
        x = dy.new_empty(shape)
        if _is_channels_last(dy):
            x = torch.empty_like(x, memory_format=torch.channels_last)
        return self._backward(dy, x, weight.to(dy.dtype), (True, False, False))[0]

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """The weight gradient of the same convolution with as many inputs as x has."""
        return self._backward(dy, x, dy.new_empty(shape), (False, True, False))[1]

    def _arguments(self) -> tuple[Any, ...]:
        padding = self.output_padding or (0,) * len(self.stride)
        return self.stride, self.padding, self.dilation, self.transposed, padding, self.groups

    def _backward(
        self, dy: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.aten.convolution_backward(dy, x, weight, None, *self._arguments(), wanted)


def partial_operator(
    operator: Operator,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    selected: Tensor | None = None,
    columns: Tensor | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """A frozen weight applied to x, with gradients for x, the bias and the chosen columns of the weight.

    Args:
        operator: dense or convolution.
        x: the input.
        weight: the frozen weight. It already holds the values of `columns`.
        bias: added to the output's channels; gets a gradient if it requires one.
        selected: the channels of x that the chosen columns see, the only part of x that is kept for the backward pass.
        columns: what receives the gradient of the chosen columns; its values are not read.
        forward: another way to compute the same output (a faster one, say).
    """
    arguments = (x, columns, bias, weight, selected, operator, forward)
    return _Partial.apply(*arguments)  # type: ignore[no-untyped-call]


class _Partial(torch.autograd.Function):
    """See `partial_operator`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        columns: Tensor | None,
        bias: Tensor | None,
        weight: Tensor,
        selected: Tensor | None,
        operator: Operator,
        forward: Callable[[Tensor], Tensor] | None,
    ) -> Tensor:
        if forward is not None:
            y = forward(x)
        else:
            y = operator.apply(x, weight)
            if bias is not None:
                dim = operator.channel_dim(y)
                y += bias.view(-1, *[1] * (y.dim() - 1 - dim))
        ctx.save_for_backward(weight if ctx.needs_input_grad[0] else None, selected)
        ctx.operator = operator
        ctx.channels_last = _is_channels_last(y)
        ctx.x_shape, ctx.x_dtype = x.shape, x.dtype
        ctx.columns_shape = None if columns is None else columns.shape
        ctx.columns_dtype = None if columns is None else columns.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        weight, selected = ctx.saved_tensors
        operator: Operator = ctx.operator
        if ctx.channels_last:  # once lost, the layout would cost a copy in every layer below
            dy = dy.contiguous(memory_format=torch.channels_last)
        dx = dcolumns = dbias = None
        if ctx.needs_input_grad[0]:
            dx = operator.input_gradient(dy, weight, ctx.x_shape).to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            gradient = operator.weight_gradient(dy, selected.to(dy.dtype), ctx.columns_shape)
            dcolumns = gradient.to(ctx.columns_dtype)
        if ctx.needs_input_grad[2]:
            channels = operator.channel_dim(dy)
            dims = [dim for dim in range(dy.dim()) if dim != channels]
            dbias = (dy.sum(dims) if dims else dy).to(ctx.bias_dtype)
        return dx, dcolumns, dbias, None, None, None, None


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
