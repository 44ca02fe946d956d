"""Layers with trained columns: what each type reads, when it is refused, and its forward pass."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from partialgrad.classes import Mixin, own_class
from partialgrad.columns import Columns
from partialgrad.gather import Gather
from partialgrad.operators import Dense, Operator, partial_operator
from partialgrad.sharding import is_sharded

_PROBE_LENGTH = 16
_NO_TRANSFORMS = (
    "torch.func does not work on layers with trained columns: call partialgrad.merge(model) first "
    "(nor do DataParallel and FullyShardedDataParallel: use DistributedDataParallel or fully_shard)"
)
_NO_TENSOR_PARALLEL = (
    "the layer computes with a part of its weight (tensor parallelism), which trained columns do not work with: "
    "leave its layers out of the rules, or use fully_shard instead"
)
_NOT_IN_STATE_DICT = (
    " is tied, sharded or quantized, so its trained columns lie beside it, and a state dict of the model's own keys "
    "does not hold them: use save_adapter"
)
_DISABLED = "the adapter is disabled: call enable(model) before loading trained weights"
_NO_FULL_GRAPH = (
    "layers with trained columns write them into their weights outside of compiled graphs: "
    "leave out fullgraph=True, or call partialgrad.merge(model) before torch.compile"
)


@dataclass(frozen=True)
class Reading:
    """Weights of a layer that read the same tensor, and so share their chosen columns.

    Attributes:
        weights: their names in the layer.
        dim: the dimension of the weights that counts columns.
        columns: how many there are to choose from (within one group of a grouped convolution).
        groups: number of groups that the input's channels fall into.
    """

    weights: tuple[str, ...]
    dim: int
    columns: int
    groups: int = 1

    def by_column(self, weight: Tensor) -> Tensor:
        """The weight as (columns, everything else)."""
        if self.dim == 0:
            weight = weight.unflatten(0, (self.groups, self.columns)).transpose(0, 1)
        else:
            weight = weight.movedim(self.dim, 0)
        return weight.flatten(1)

    def channels(self, chosen: Tensor) -> Tensor:
        """The input channels that the chosen columns of all groups see."""
        return (torch.arange(self.groups)[:, None] * self.columns + chosen).flatten()

    def rows(self, chosen: Tensor) -> Tensor:
        """Indices along `dim` of the weight: where it counts all input channels, those of all groups."""
        return self.channels(chosen) if self.dim == 0 else chosen


class PartialLayer(Mixin):
    """What all layers with trained columns have in common.

    Attributes:
        partial: weight (or bias) name to its columns.
        gather: takes the chosen channels out of the input.
    """

    own_types: ClassVar[tuple[Any, ...]] = ()
    partial: nn.ModuleDict
    gather: Gather

    @staticmethod
    def readings(layer: Any) -> list[Reading]:
        """What the layer's weights read."""
        raise NotImplementedError

    @classmethod
    def refusal(cls, layer: Any) -> str | None:
        """Why no columns of this layer can be trained; None if they can."""
        names = [name for reading in cls.readings(layer) for name in reading.weights]
        if parametrize.is_parametrized(layer) or any(n not in layer._parameters for n in names):
            return "its weight is computed by a parametrization: remove that first"
        if any(map(is_lazy, layer.parameters(recurse=False))):
            return "its shape is not known yet: run the model once first"
        for weight in map(layer.get_parameter, names):
            if weight.is_meta:
                return "its weight is on the meta device: load the weights first"
            if not weight.is_floating_point() or not (is_plain(weight) or is_sharded(weight)):
                kind = f"{type(weight.data).__name__} of {weight.dtype}"
                return (
                    f"its weight is a {kind}: wrap the model in floating point, then quantize_base"
                )
        return _differs(layer, cls.own_types)

    def columns(self, name: str) -> Columns | None:
        """The trained columns of a weight or bias that are in use."""
        if name not in self.partial:
            return None
        columns = self.partial[name]
        assert isinstance(columns, Columns)
        return columns if columns.enabled else None

    def each(self) -> Iterator[tuple[str, Columns]]:
        """All trained columns by the name of their weight."""
        for name, columns in self.partial.items():
            assert isinstance(columns, Columns)
            yield name, columns

    @torch.compiler.disable(reason=_NO_FULL_GRAPH)  # type: ignore[untyped-decorator]
    def begin(self) -> None:
        """Before a forward pass.

        Raises:
            ValueError: within a transform of `torch.func`, with other tensors in place of the parameters, or in
                tensor parallelism.
        """
        parameters = self._parameters.values()
        replaced = any(type(p) is Tensor for p in parameters)
        if replaced or (torch.is_grad_enabled() and torch._C._are_functorch_transforms_active()):
            raise ValueError(_NO_TRANSFORMS)
        if any(map(is_sharded, parameters)):
            raise ValueError(_NO_TENSOR_PARALLEL)
        self.write()

    def write(self) -> None:
        """Bring the weights up to date."""
        for name, columns in self.each():
            columns.write(self.get_parameter(name))

    def switch(self, enabled: bool) -> None:
        """Trained or pretrained values."""
        for name, columns in self.each():
            columns.switch(self.get_parameter(name), enabled)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.write()
        super()._save_to_state_dict(*args, **kwargs)
        for name, columns in self.each():
            if columns.enabled and columns.original is None and columns.delta.any():
                warnings.warn(f"{args[1]}{name}{_NOT_IN_STATE_DICT}", stacklevel=2)

    def _load_from_state_dict(self, state_dict: Any, prefix: Any, *args: Any) -> None:
        self.write()  # or a weight that is not in it would lose a step
        super()._load_from_state_dict(state_dict, prefix, *args)
        *_, errors = args
        for name, columns in self.each():
            if f"{prefix}{name}" in state_dict and not columns.read(self.get_parameter(name)):
                errors.append(f"{prefix}{name}: {_DISABLED}")


def partial_layers(model: nn.Module) -> Iterator[tuple[str, PartialLayer]]:
    """Layers with trained columns, by name."""
    for name, layer in model.named_modules():
        if isinstance(layer, PartialLayer):
            yield name, layer


def all_columns(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Columns]]:
    """Weight name, weight and trained columns of all layers."""
    for name, layer in partial_layers(model):
        for weight, columns in layer.each():
            yield f"{name}.{weight}".lstrip("."), layer.get_parameter(weight), columns


def is_plain(weight: Tensor) -> bool:
    """Whether it is a tensor as PyTorch makes them, and not of a class that quantizes or shards it, say."""
    return type(weight.data) is Tensor


def beside(columns: Columns | None) -> bool:
    """Whether these are trained columns in a side branch."""
    return columns is not None and columns.original is None


def operator_with_columns(
    operator: Operator,
    x: Tensor,
    weight: tuple[Tensor, Columns | None],
    bias: tuple[Tensor | None, Columns | None],
    gather: Gather,
    forward: Callable[[Tensor], Tensor],
) -> Tensor:
    """A frozen weight and bias, each with its trained columns if it has any, applied to x.

    Args:
        operator: dense or convolution.
        x: the input.
        weight, bias: as the layer has them, and their columns.
        gather: takes the chosen channels out of x.
        forward: the layer's own way to compute the output.
    """
    dim = operator.channel_dim(x)
    (frozen, columns), (own_bias, own_columns) = weight, bias
    live = None if beside(columns) else columns
    y = partial_operator(
        operator,
        x,
        frozen,
        own_bias if own_columns is None or beside(own_columns) else own_columns.delta,
        None if live is None else gather(x, dim, live.channels),
        None if live is None else live.delta,
        forward,
    )
    if columns is not None and beside(columns):
        selected = x.index_select(dim, columns.channels)
        y = y + operator.apply(selected, columns.delta.to(selected.dtype))
    if own_columns is not None and beside(own_columns):
        delta = own_columns.delta.to(y.dtype)
        y = y + delta.view(-1, *[1] * (y.dim() - 1 - operator.channel_dim(y)))
    return y


class OneOperator(PartialLayer):
    """Layers of one weight that are one linear operator."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def _operator(self, x: Tensor, *args: Any) -> Operator:
        raise NotImplementedError

    def _plain(self, x: Tensor, *args: Any) -> Tensor:
        """The forward pass of the layer's own class."""
        return super().forward(x, *args)

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """The layer's own forward pass; the backward pass gives the gradient of the chosen columns."""
        self.begin()
        weight, bias = self.columns("weight"), self.columns("bias")
        if not torch.is_grad_enabled() and not beside(weight) and not beside(bias):
            return self._plain(x, *args)
        operator = self._operator(x, *args)
        return operator_with_columns(
            operator,
            x,
            (self.weight, weight),
            (self.bias, bias),
            self.gather,
            lambda x: self._plain(x, *args),
        )


class PartialLinear(OneOperator):
    """`nn.Linear`."""

    own_types = (nn.Linear,)

    @staticmethod
    def readings(layer: nn.Linear) -> list[Reading]:
        """Input features."""
        return [Reading(("weight",), 1, layer.in_features)]

    def _operator(self, x: Tensor, *args: Any) -> Operator:
        return Dense()


def same_padding(layer: Any) -> list[int]:
    """In all, along each dimension, what leaves a convolution's input as long as it is."""
    return [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]


def _differs(layer: Any, own_types: tuple[Any, ...]) -> str | None:
    """Why a subclass's own forward pass is not the operator of the type it derives from; None if it is."""
    own = own_class(layer)
    stock = next(kind for kind in own_types if isinstance(layer, kind))
    if own.forward is stock.forward:
        return None
    reason = f"{own.__name__} has a forward pass of its own that is not {stock.__name__}'s"
    if not hasattr(layer, "in_channels") and not hasattr(layer, "in_features"):
        return reason
    weight = layer.get_parameter("weight")
    if is_sharded(weight):
        return f"{reason}, or it cannot be seen while sharded: wrap the model first, then shard it"
    shape = [2, layer.in_channels] if hasattr(layer, "in_channels") else [2, layer.in_features]
    if hasattr(layer, "kernel_size"):
        length = _PROBE_LENGTH * math.ceil((max(same_padding(layer)) + 1) / _PROBE_LENGTH)
        shape += [length] * len(layer.kernel_size)
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.testing.assert_close(own.forward(layer, probe), stock.forward(layer, probe))
    except Exception as error:
        return f"{reason} on a probe of shape {tuple(shape)}: {str(error).splitlines()[0]}"
    return None
