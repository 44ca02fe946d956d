"""Frozen linear weights in 8 or 4 bits, with the trained columns in floating point (QPaCA, arXiv 2503.01905).

The chosen columns are taken out of the quantized weight, so they start from the pretrained values themselves, not from
rounded ones, and training never has to round again. Only the quantized weight is kept for the backward pass. In 8 bits
there is one scale per output, W = scale · integers, and no dequantized copy beyond the cast is needed; 4 bits
(`nf4.py`) are decoded for each product and let go.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partialgrad import nf4
from partialgrad.adapters import base_hash
from partialgrad.classes import Mixin, add_mixin, own_class
from partialgrad.fastpath import leave_fast_path
from partialgrad.layers import PartialLayer
from partialgrad.operators import Operator, partial_operator
from partialgrad.rules import tied_parameters
from partialgrad.sharding import has_shards
from partialgrad.wrap import wrapping_of

_LARGEST = 127

Format = Literal["int8", "nf4"]


def quantize_base(model: nn.Module, format: Format = "int8") -> list[str]:
    """Round all frozen weights of linear layers to 8 or 4 bits, except their trained columns.

    The way back is to load the base again: adapters that are saved from the quantized model fit the original base, and
    `load_adapter` there, then `merge`, gives a plain model.

    Args:
        model: wrapped, enabled, changed in place. Weights that are tied, trained in full or of other layers stay.
        format: "int8", off by about half a percent of a row's largest weight, or "nf4", half the bytes and about
            fifteen times the error.

    Returns:
        names of the quantized layers.

    Raises:
        ValueError: the model is not wrapped, its adapter is disabled, or it is quantized or sharded already.
    """
    if format not in _KINDS:
        raise ValueError(f"format={format!r}: take {' or '.join(map(repr, _KINDS))}")
    wrapping = wrapping_of(model)
    if wrapping.base_sha256 is not None:
        raise ValueError("the base is quantized already")
    if not wrapping.enabled:
        raise ValueError("the adapter is disabled: call enable(model) before quantizing")
    if has_shards(model):
        raise ValueError("the base is sharded: wrap and quantize it first, then shard it")
    wrapping.base_sha256 = base_hash(model)
    tied, inside = tied_parameters(model), _inside_attention(model)
    quantized = []
    for name, layer in model.named_modules():
        if own_class(layer) is nn.Linear and not inside & {layer} and id(layer.weight) not in tied:
            assert isinstance(layer, nn.Linear)
            if not layer.weight.requires_grad and layer.weight.is_floating_point():
                _quantize(layer, _KINDS[format])
                quantized.append(name)
    leave_fast_path(model, QuantizedLinear)
    return quantized


class QuantizedLinear(Mixin):
    """A linear layer whose weight is in codes.

    Attributes:
        weight: the codes, zero in the columns that are kept apart.
        weight_scale: what one step of them is worth.
        float_columns: (outputs, r) pretrained values of the columns that are kept apart.
        float_indices: (r,) which these are.
    """

    layer_order = 1  # outside of PartialLinear, whose operator it replaces
    weight: nn.Parameter
    bias: nn.Parameter | None
    weight_scale: Tensor
    float_columns: Tensor
    float_indices: Tensor

    @staticmethod
    def encode(weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scales of a weight."""
        raise NotImplementedError

    def _operator(self, x: Tensor) -> Operator:
        raise NotImplementedError

    def _plain(self, x: Tensor) -> Tensor:
        y = self._operator(x).apply(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if isinstance(self, PartialLayer):
            return super().forward(x)
        return partial_operator(self._operator(x), x, self.weight, self.bias, forward=self._plain)


class Int8Linear(QuantizedLinear):
    """Integers (outputs, inputs), and a scale (outputs,)."""

    @staticmethod
    def encode(weight: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        scale = weight.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / _LARGEST
        return (weight / scale[:, None]).round().to(torch.int8), scale

    def _operator(self, x: Tensor) -> Operator:
        return Int8Dense(self.float_columns, self.float_indices, self.weight_scale)


class Nf4Linear(QuantizedLinear):
    """Codes and scales of `nf4.encode`."""

    in_features: int

    @staticmethod
    def encode(weight: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return nf4.encode(weight)

    def _operator(self, x: Tensor) -> Operator:
        scales = self.weight_scale
        return Nf4Dense(self.float_columns, self.float_indices, scales, self.in_features)


@dataclass(frozen=True)
class _Dense:
    """y = W x + columns x[indices], W in codes."""

    columns: Tensor
    indices: Tensor
    scale: Tensor

    def channel_dim(self, x: Tensor) -> int:
        """The last dimension."""
        return x.dim() - 1

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The product; a weight in floating point (a side branch's) is taken as it is."""
        if weight.is_floating_point():
            return F.linear(x, weight)
        kept = F.linear(x.index_select(-1, self.indices), self.columns.to(x.dtype))
        return self._product(x, weight) + kept

    def input_gradient(self, dy: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Of the codes and of the columns that are kept apart."""
        dx = self._transposed_product(dy, weight)
        return dx.index_add_(-1, self.indices, dy @ self.columns.to(dy.dtype))

    def weight_gradient(self, dy: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
        """Codes are not trained."""
        raise NotImplementedError("a quantized weight has no gradient")

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _transposed_product(self, dy: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Int8Dense(_Dense):
    """W = scale · integers."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        y = F.linear(x, weight.to(x.dtype))
        return y * self.scale.to(y.dtype)

    def _transposed_product(self, dy: Tensor, weight: Tensor) -> Tensor:
        return (dy * self.scale.to(dy.dtype)) @ weight.to(dy.dtype)


@dataclass(frozen=True)
class Nf4Dense(_Dense):
    """W in 4 bits, decoded for each product."""

    inputs: int

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, nf4.decode(weight, self.scale, self.inputs, x.dtype))

    def _transposed_product(self, dy: Tensor, weight: Tensor) -> Tensor:
        return dy @ nf4.decode(weight, self.scale, self.inputs, dy.dtype)


_KINDS: dict[str, type[QuantizedLinear]] = {"int8": Int8Linear, "nf4": Nf4Linear}


@torch.no_grad()
def _quantize(layer: nn.Linear, kind: type[QuantizedLinear]) -> None:
    weight, indices = layer.weight.detach().clone(), torch.empty(0, dtype=torch.int64)
    columns = layer.columns("weight") if isinstance(layer, PartialLayer) else None
    kept = weight[:, :0]
    if columns is not None:
        indices = columns.indices
        kept = weight[:, indices] if columns.original is None else columns.original
        columns.original = None  # from now on a side branch
        weight[:, indices] = 0
    codes, scale = kind.encode(weight)
    layer.weight = nn.Parameter(codes, requires_grad=False)
    layer.register_buffer("weight_scale", scale)
    layer.register_buffer("float_columns", kept.clone())
    layer.register_buffer("float_indices", indices.to(weight.device))
    add_mixin(layer, kind)


def _inside_attention(model: nn.Module) -> set[Any]:
    """Layers whose weight `nn.MultiheadAttention` reads without calling them."""
    attention = (module for module in model.modules() if isinstance(module, nn.MultiheadAttention))
    return {child for module in attention for child in module.modules()}
