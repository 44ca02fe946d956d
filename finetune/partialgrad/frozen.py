"""Frozen operators that keep for the backward pass what it needs, and no more.

PyTorch keeps the whole input of a convolution, of a batch norm in evaluation mode and of most activations even where
no weight is trained. Inside `frozen_ops`, calls of these functions, by modules or directly, keep instead: of a
convolution or batch norm with frozen weight nothing but weights; of ReLU, leaky ReLU and frozen PReLU one bit per
element. Values are unchanged to the bit and gradients to rounding. With `compress`, smooth activations (SiLU, GELU)
keep their derivative in 8 bits.

Functions are exchanged where they are called (`torch.overrides`), so `F.relu` in someone's forward pass counts too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from partialgrad.activations import Derivative8Bit, TwoSlopes
from partialgrad.classes import Mixin, add_mixin, remove_mixin
from partialgrad.operators import Convolution, partial_operator


def freeze_ops(model: nn.Module, compress: bool = False) -> None:
    """Let all of the model's frozen operators keep as little as they can.

    Batch norms whose weights are frozen stay in evaluation mode from now on, also after `model.train()`.
    Call it after `wrap`. `unfreeze_ops` undoes it.

    Args:
        model: changed in place (`classes.py`).
        compress: let SiLU and GELU keep an 8-bit derivative: gradients are then off by at most 0.0025 of dy.

    Raises:
        ValueError: done already.
    """
    if any(isinstance(module, FrozenOps) for module in model.modules()):
        raise ValueError("the model's operators are frozen already: call unfreeze_ops(model) first")
    for module in model.modules():
        add_mixin(module, _CompressedOps if compress else FrozenOps)
        if isinstance(module, _BatchNorm) and not _is_trained(module.weight):
            module.eval()


def unfreeze_ops(model: nn.Module) -> None:
    """Undo `freeze_ops` (the mode of batch norms is left to `model.train()`)."""
    for module in model.modules():
        remove_mixin(module, FrozenOps)


@contextmanager
def frozen_ops(compress: bool = False) -> Iterator[None]:
    """Within this context, frozen operators keep as little as they can; see `freeze_ops` for whole models."""
    if any(isinstance(mode, _FrozenOpsMode) for mode in _get_current_function_mode_stack()):
        yield
    else:
        with _FrozenOpsMode(compress):
            yield


class FrozenOps(Mixin):
    """Runs a module's forward pass within `frozen_ops`.

    Every module does so by itself, not only the outermost: activation checkpointing calls inner ones again.
    """

    layer_order = 2
    compress: ClassVar[bool] = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the module's own."""
        with frozen_ops(self.compress):
            return super().forward(*args, **kwargs)

    def train(self, mode: bool = True) -> Any:
        """Batch norms with frozen weights stay in evaluation mode."""
        frozen = isinstance(self, _BatchNorm) and not _is_trained(self.weight)
        return super().train(mode and not frozen)


class _CompressedOps(FrozenOps):
    compress = True


class _FrozenOpsMode(TorchFunctionMode):
    def __init__(self, compress: bool) -> None:
        super().__init__()
        self.compress = compress

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        exchange = _EXCHANGES.get(func) or (_COMPRESSED.get(func) if self.compress else None)
        kwargs = kwargs or {}
        if (
            exchange is not None
            and torch.is_grad_enabled()
            and not torch._C._are_functorch_transforms_active()
            and any(
                isinstance(value, Tensor) and value.requires_grad
                for value in (*args, *kwargs.values())
            )
        ):
            y = exchange(func, *args, **kwargs)
            if y is not NotImplemented:
                return y
        return func(*args, **kwargs)


def _is_trained(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def _tuple(value: int | Sequence[int], length: int) -> tuple[int, ...]:
    return (value,) * length if isinstance(value, int) else tuple(value)


def _convolution(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    spatial = weight.dim() - 2
    if weight.requires_grad or isinstance(padding, str) or input.dim() != spatial + 2:
        return NotImplemented
    stride, padding, dilation = (_tuple(n, spatial) for n in (stride, padding, dilation))
    operator = Convolution(stride, padding, dilation, groups)
    arguments = (stride, padding, dilation, groups)
    return partial_operator(
        operator, input, weight, bias, forward=lambda x: func(x, weight, bias, *arguments)
    )


def _transposed_convolution(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    spatial = weight.dim() - 2
    if weight.requires_grad or input.dim() != spatial + 2:
        return NotImplemented
    stride, padding, dilation = (_tuple(n, spatial) for n in (stride, padding, dilation))
    operator = Convolution(stride, padding, dilation, groups, True, _tuple(output_padding, spatial))
    arguments = (stride, padding, output_padding, groups, dilation)
    return partial_operator(
        operator, input, weight, bias, forward=lambda x: func(x, weight, bias, *arguments)
    )


def _batch_norm(
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training or running_mean is None or running_var is None or _is_trained(weight):
        return NotImplemented
    scale = torch.rsqrt(running_var + eps) * (1 if weight is None else weight)

    def forward(x: Tensor) -> Tensor:
        return func(x, running_mean, running_var, weight, bias, False, momentum, eps)

    return _Scaled.apply(input, scale, bias, forward)  # type: ignore[no-untyped-call]


def _relu(func: Any, input: Tensor, inplace: bool = False) -> Any:
    return _two_slopes(input, None, inplace, lambda x: func(x))


def _leaky_relu(
    func: Any, input: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Any:
    slope = input.new_tensor(negative_slope)
    return _two_slopes(input, slope, inplace, lambda x: func(x, negative_slope))


def _prelu(func: Any, input: Tensor, weight: Tensor) -> Any:
    if weight.requires_grad:
        return NotImplemented
    shaped = weight.view(-1, *[1] * (input.dim() - 2)) if input.dim() > 1 else weight
    return _two_slopes(input, shaped, False, lambda x: func(x, weight))


def _two_slopes(input: Tensor, slope: Tensor | None, inplace: bool, forward: Any) -> Any:
    return TwoSlopes.apply(input, slope, inplace, forward)  # type: ignore[no-untyped-call]


def _silu(func: Any, input: Tensor, inplace: bool = False) -> Any:
    if inplace:
        return NotImplemented
    return Derivative8Bit.apply(input, func, torch.ops.aten.silu_backward)  # type: ignore[no-untyped-call]


def _gelu(func: Any, input: Tensor, *, approximate: str = "none") -> Any:
    options = {"approximate": approximate}
    derivative = partial(torch.ops.aten.gelu_backward, **options)
    return Derivative8Bit.apply(input, partial(func, **options), derivative)  # type: ignore[no-untyped-call]


_EXCHANGES: dict[Any, Callable[..., Any]] = {
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.conv_transpose1d: _transposed_convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.conv_transpose3d: _transposed_convolution,
    F.batch_norm: _batch_norm,
    F.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    F.leaky_relu: _leaky_relu,
    F.prelu: _prelu,
    torch.prelu: _prelu,
}
_COMPRESSED: dict[Any, Callable[..., Any]] = {F.silu: _silu, F.gelu: _gelu}


class _Scaled(torch.autograd.Function):
    """A map x · scale + shift per channel (dimension 1)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor | None, forward: Callable[..., Tensor]
    ) -> Tensor:
        ctx.save_for_backward(scale)
        ctx.dtype, ctx.bias_dtype = x.dtype, None if bias is None else bias.dtype
        return forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        dx = dbias = None
        if ctx.needs_input_grad[0]:
            dx = (dy * scale.view(-1, *[1] * (dy.dim() - 2)).to(dy.dtype)).to(ctx.dtype)
        if ctx.needs_input_grad[2]:
            dbias = dy.sum([dim for dim in range(dy.dim()) if dim != 1]).to(ctx.bias_dtype)
        return dx, None, dbias, None
