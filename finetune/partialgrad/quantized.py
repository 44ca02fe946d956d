"""Frozen linear weights in 8 bits, with the trained columns in floating point (QPaCA, arXiv 2503.01905).

The chosen columns are taken out of the quantized weight, so they start from the pretrained values themselves, not from
rounded ones, and training never has to round again. One scale per output: W = scale · integers, so products with W
need no dequantized copy beyond the cast, forward and backward, and only the 8-bit weight is kept.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partialgrad.adapters import base_hash
from partialgrad.classes import Mixin, add_mixin, own_class
from partialgrad.layers import PartialLayer
from partialgrad.operators import partial_operator
from partialgrad.rules import tied_parameters
from partialgrad.wrap import wrapping_of

_LARGEST = 127


def quantize_base(model: nn.Module) -> list[str]:
    """Round all frozen weights of linear layers to 8 bits, except their trained columns.

    The way back is to load the base again: adapters that are saved from the quantized model fit the original base, and
    `load_adapter` there, then `merge`, gives a plain model.

    Args:
        model: wrapped, enabled, changed in place. Weights that are tied, trained in full or of other layers stay.

    Returns:
        names of the quantized layers.

    Raises:
        ValueError: the model is not wrapped, its adapter is disabled, or it is quantized already.
    """
    wrapping = wrapping_of(model)
    if wrapping.base_sha256 is not None:
        raise ValueError("the base is quantized already")
    if not wrapping.enabled:
        raise ValueError("the adapter is disabled: call enable(model) before quantizing")
    wrapping.base_sha256 = base_hash(model)
    tied, inside = tied_parameters(model), _inside_attention(model)
    quantized = []
    for name, layer in model.named_modules():
        if own_class(layer) is nn.Linear and not inside & {layer} and id(layer.weight) not in tied:
            assert isinstance(layer, nn.Linear)
            if not layer.weight.requires_grad and layer.weight.is_floating_point():
                _quantize(layer)
                quantized.append(name)
    return quantized


class Int8Linear(Mixin):
    """A linear layer of 8-bit weights.

    Attributes:
        weight: (outputs, inputs) integers; zero in the columns that are kept apart.
        weight_scale: (outputs,) what one step of them is worth.
        float_columns: (outputs, r) pretrained values of the columns that are kept apart.
        float_indices: (r,) which these are.
    """

    layer_order = 1  # outside of PartialLinear, whose operator it replaces
    weight: nn.Parameter
    bias: nn.Parameter | None
    weight_scale: Tensor
    float_columns: Tensor
    float_indices: Tensor

    def _operator(self, x: Tensor) -> "Int8Dense":
        return Int8Dense(self.weight_scale, self.float_columns, self.float_indices)

    def _plain(self, x: Tensor) -> Tensor:
        y = self._operator(x).apply(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if isinstance(self, PartialLayer):
            return super().forward(x)
        return partial_operator(self._operator(x), x, self.weight, self.bias, forward=self._plain)


@dataclass(frozen=True)
class Int8Dense:
    """y = scale · (W x) + columns x[indices], W in integers."""

    scale: Tensor
    columns: Tensor
    indices: Tensor

    def channel_dim(self, x: Tensor) -> int:
        """The last dimension."""
        return x.dim() - 1

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The product; a weight in floating point (a side branch's) is taken as it is."""
        if weight.is_floating_point():
            return F.linear(x, weight)
        y = F.linear(x, weight.to(x.dtype))
        kept = F.linear(x.index_select(-1, self.indices), self.columns.to(x.dtype))
        return y * self.scale.to(y.dtype) + kept

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Of the integers and of the columns that are kept apart."""
        dx = (dy * self.scale.to(dy.dtype)) @ weight
        return dx.index_add_(-1, self.indices, dy @ self.columns.to(dy.dtype))

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """Integers are not trained."""
        raise NotImplementedError("an 8-bit weight has no gradient")


@torch.no_grad()
def _quantize(layer: nn.Linear) -> None:
    weight, indices = layer.weight.detach().clone(), torch.empty(0, dtype=torch.int64)
    columns = layer.columns("weight") if isinstance(layer, PartialLayer) else None
    kept = weight[:, :0]
    if columns is not None:
        indices = columns.indices
        kept = weight[:, indices] if columns.original is None else columns.original
        columns.original = None  # from now on a side branch
        weight[:, indices] = 0
    scale = weight.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / _LARGEST
    integers = (weight / scale[:, None]).round().to(torch.int8)
    layer.weight = nn.Parameter(integers, requires_grad=False)
    layer.register_buffer("weight_scale", scale)
    layer.register_buffer("float_columns", kept.clone())
    layer.register_buffer("float_indices", indices.to(weight.device))
    add_mixin(layer, Int8Linear)


def _inside_attention(model: nn.Module) -> set[Any]:
    """Layers whose weight `nn.MultiheadAttention` reads without calling them."""
    attention = (module for module in model.modules() if isinstance(module, nn.MultiheadAttention))
    return {child for module in attention for child in module.modules()}
