"""Trained input channels of convolutions, also transposed and grouped."""

from typing import Any, ClassVar

from torch import Tensor, nn

from partialgrad.layers import OneOperator, Reading, same_padding
from partialgrad.operators import Convolution, Operator


class PartialConvolution(OneOperator):
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
        if layer.padding == "same" and any(total % 2 for total in same_padding(layer)):
            return "padding='same' of an even kernel: pad before the layer with F.pad instead"
        return super().refusal(layer)

    def _operator(self, x: Tensor, *args: Any) -> Operator:
        if isinstance(self.padding, str):
            padding = tuple(n // 2 if self.padding == "same" else 0 for n in same_padding(self))
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
