"""Layers with trained columns: what each type reads, when it is refused, and its forward pass."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from partialgrad.classes import Mixin, own_class
from partialgrad.columns import Columns
from partialgrad.gather import Gather
from partialgrad.operators import Convolution, Dense, Operator, partial_operator

_PROBE_LENGTH = 16
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

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        for name, columns in self.each():
            columns.read(self.get_parameter(name))


class _OneOperator(PartialLayer):
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
        self.write()
        columns, bias = self.columns("weight"), self.columns("bias")
        live = columns if columns is not None and columns.original is not None else None
        side = columns if live is None else None
        if not torch.is_grad_enabled() and side is None:
            return self._plain(x, *args)
        operator = self._operator(x, *args)
        y = partial_operator(
            operator,
            x,
            self.weight,
            self.bias if bias is None else bias.delta,
            None if live is None else self.gather(x, operator.channel_dim(x), live.channels),
            None if live is None else live.delta,
            lambda x: self._plain(x, *args),
        )
        if side is None:
            return y
        selected = x.index_select(operator.channel_dim(x), side.channels)
        return y + operator.apply(selected, side.delta.to(selected.dtype))


class PartialLinear(_OneOperator):
    """`nn.Linear`."""

    own_types = (nn.Linear,)

    @staticmethod
    def readings(layer: nn.Linear) -> list[Reading]:
        """Input features."""
        return [Reading(("weight",), 1, layer.in_features)]

    def _operator(self, x: Tensor, *args: Any) -> Operator:
        return Dense()


class PartialConvolution(_OneOperator):
    """`nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d`."""

    own_types: ClassVar[tuple[Any, ...]] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    transposed = False
    in_channels: int
    groups: int
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    kernel_size: tuple[int, ...]

    @staticmethod
    def readings(layer: Any) -> list[Reading]:
        """Input channels of a group."""
        per_group = layer.in_channels // layer.groups
        return [Reading(("weight",), 0 if layer.transposed else 1, per_group, layer.groups)]

    @classmethod
    def refusal(cls, layer: Any) -> str | None:
        """Depthwise, padded with something other than zeros, unevenly padded, or another operator."""
        if layer.groups > 1 and layer.groups == layer.in_channels:
            return (
                "depthwise: it would keep one channel for every few weights; train='bias' is free"
            )
        if layer.padding_mode != "zeros":
            return f"padding_mode={layer.padding_mode!r}: pad before the layer with F.pad instead"
        if layer.padding == "same" and any(total % 2 for total in _same_padding(layer)):
            return "padding='same' of an even kernel: pad before the layer with F.pad instead"
        return super().refusal(layer)

    def _operator(self, x: Tensor, *args: Any) -> Operator:
        if isinstance(self.padding, str):
            padding = tuple(n // 2 if self.padding == "same" else 0 for n in _same_padding(self))
        else:
            padding = self.padding
        output_padding = self._extra_padding(x, *args) if self.transposed else ()
        return Convolution(
            self.stride, padding, self.dilation, self.groups, self.transposed, output_padding
        )

    def _extra_padding(self, x: Tensor, *args: Any) -> tuple[int, ...]:
        return ()

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """Also of an input without a batch dimension."""
        if x.dim() == len(self.stride) + 1:
            return super().forward(x.unsqueeze(0), *args).squeeze(0)
        return super().forward(x, *args)


class PartialTransposedConvolution(PartialConvolution):
    """`nn.ConvTranspose1d`, `nn.ConvTranspose2d`, `nn.ConvTranspose3d`."""

    own_types = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    transposed = True

    def _extra_padding(self, x: Tensor, *args: Any) -> tuple[int, ...]:
        output_size = args[0] if args else None
        spatial = len(self.stride)
        return tuple(
            self._output_padding(  # type: ignore[operator]
                x, output_size, self.stride, self.padding, self.kernel_size, spatial, self.dilation
            )
        )


def _same_padding(layer: Any) -> list[int]:
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
    shape = [2, layer.in_channels] if hasattr(layer, "in_channels") else [2, layer.in_features]
    if hasattr(layer, "kernel_size"):
        length = _PROBE_LENGTH * math.ceil((max(_same_padding(layer)) + 1) / _PROBE_LENGTH)
        shape += [length] * len(layer.kernel_size)
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.testing.assert_close(own.forward(layer, probe), stock.forward(layer, probe))
    except Exception as error:
        return f"{reason} on a probe of shape {tuple(shape)}: {str(error).splitlines()[0]}"
    return None
