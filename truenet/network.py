"""TRU-Net: a U-Net along frequency with a recurrent bottleneck (arXiv 2102.03207 v3, Fig. 1).

No kernel spans time: the only memory is the time GRU's state (and the features' smoother). Tensors are
(batch, channels, frames, bins) in channels-last order, where folding frames into the batch is free.

Strided and transposed convolutions keep the paper's parameters but are computed as stride-1 polyphase ones, which
is several times faster to train on CPUs; `tests/test_network.py` holds them against the stock operators.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truenet.config import TRUNetConfig
from truenet.mask import CHANNELS_PER_MASK

_BETA_LOGIT_START = -3.0  # β ≈ 1.05: masks start almost real


class FrequencyConv(nn.Conv2d):
    """Convolution along frequency: kernel (1, k), stride (1, s), padding k // 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins / stride)."""
        depthwise = self.groups == self.in_channels == self.out_channels
        if self.stride[1] != 2 or not depthwise or torch.compiler.is_exporting():
            return super().forward(x)
        even, odd = x.unflatten(3, (-1, 2)).unbind(4)
        return self._phase(even, 0, None) + self._phase(odd, 1, self.bias)

    def _phase(self, x: Tensor, phase: int, bias: Tensor | None) -> Tensor:
        """The part of a stride-2 convolution that the even (0) or odd (1) samples meet: every second tap."""
        padding = self.kernel_size[1] // 2
        taps = self.weight[..., (phase + padding) % 2 :: 2]
        left = (padding + phase) // 2
        padded = F.pad(x, (left, taps.shape[3] - 1 - left))
        return F.conv2d(padded, taps, bias, groups=self.groups)


class FrequencyTransposedConv(nn.ConvTranspose2d):
    """Transposed convolution along frequency whose output is exactly `stride` times as long."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(
            inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), (0, stride - 1)
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins * stride)."""
        kernel, stride = self.kernel_size[1], self.stride[1]
        if torch.compiler.is_exporting():
            return super().forward(x, output_size)
        weight = self.weight.transpose(0, 1)
        if stride == 1:
            return F.conv2d(x, weight.flip(3), self.bias, padding=(0, kernel // 2))
        # Output 2m takes the taps of one parity from inputs m + 1, m, m − 1; output 2m + 1 those of the other.
        padding = kernel // 2
        phases = []
        for phase in (0, 1):
            taps = [phase + padding + 2 * shift for shift in (-1, 0, 1)]  # from input m + 1, m, m − 1
            columns = [weight[..., tap] if 0 <= tap < kernel else torch.zeros_like(weight[..., 0]) for tap in taps]
            phases.append(torch.stack(columns[::-1], dim=3))
        assert self.bias is not None
        both = F.conv2d(x, torch.cat(phases), self.bias.repeat(2), padding=(0, 1))
        interleaved = both.permute(0, 2, 3, 1).unflatten(3, (2, -1)).flatten(2, 3)
        return interleaved.permute(0, 3, 1, 2)


class EncoderBlock(nn.Module):
    """Pointwise, then depthwise convolution, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.pointwise = FrequencyConv(inputs, outputs, 1, 1)
        self.pointwise_norm = nn.BatchNorm2d(outputs)
        self.depthwise = FrequencyConv(outputs, outputs, kernel, stride, groups=outputs)
        self.depthwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins / stride)."""
        x = F.relu(self.pointwise_norm(self.pointwise(x)))
        return F.relu(self.depthwise_norm(self.depthwise(x)))


class DecoderBlock(nn.Module):
    """Concatenated skip, pointwise, then full transposed convolution; the last block ends linear."""

    def __init__(
        self, inputs: int, width: int, outputs: int, kernel: int, stride: int, last: bool = False
    ) -> None:
        super().__init__()
        self.pointwise = FrequencyConv(inputs, width, 1, 1)
        self.pointwise_norm = nn.BatchNorm2d(width)
        self.transposed = FrequencyTransposedConv(width, outputs, kernel, stride)
        self.transposed_norm = None if last else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins * stride)."""
        x = self.transposed(F.relu(self.pointwise_norm(self.pointwise(x))))
        return x if self.transposed_norm is None else F.relu(self.transposed_norm(x))


class FrequencyGRU(nn.Module):
    """Bidirectional GRU over the bins of every frame, then pointwise, batch norm and ReLU. No memory."""

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, units, batch_first=True, bidirectional=True)
        self.pointwise = FrequencyConv(2 * units, outputs, 1, 1)
        self.pointwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins)."""
        frames = x.shape[2]
        rows, _ = self.gru(x.permute(0, 2, 3, 1).flatten(0, 1))  # (batch · frames, bins, 2 · units)
        x = rows.unflatten(0, (-1, frames)).permute(0, 3, 1, 2)
        return F.relu(self.pointwise_norm(self.pointwise(x)))


class TimeGRU(nn.Module):
    """GRU over the frames, one cell shared by all bins, then pointwise, batch norm and ReLU: the network's memory."""

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, units, batch_first=True)
        self.pointwise = FrequencyConv(units, outputs, 1, 1)
        self.pointwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, inputs, frames, bins) and hidden (batch, bins, units) to (batch, outputs, frames, bins), next hidden."""
        bins = x.shape[3]
        rows, following = self.gru(
            x.permute(0, 3, 2, 1).flatten(0, 1), hidden.flatten(0, 1).unsqueeze(0)
        )  # (batch · bins, frames, units)
        x = rows.unflatten(0, (-1, bins)).permute(0, 3, 2, 1)
        x = F.relu(self.pointwise_norm(self.pointwise(x)))
        return x, following.squeeze(0).unflatten(0, (-1, bins))


class TRUNet(nn.Module):
    """Features to mask logits.

    Args:
        config: the layer table.
        features: number of feature channels.
    """

    def __init__(self, config: TRUNetConfig, features: int) -> None:
        super().__init__()
        kernels, strides, channels = (
            config.encoder_kernels,
            config.encoder_strides,
            config.encoder_channels,
        )
        self.first = FrequencyConv(features, channels[0], kernels[0], strides[0])
        self.encoder = nn.ModuleList(
            EncoderBlock(channels[i - 1], channels[i], kernels[i], strides[i])
            for i in range(1, len(channels))
        )
        width = config.bottleneck_channels
        self.frequency_gru = FrequencyGRU(channels[-1], config.frequency_gru_units, width)
        self.time_gru = TimeGRU(width, config.time_gru_units, width)
        self.decoder = nn.ModuleList(_decoder_blocks(config))
        with torch.no_grad():
            bias = self.decoder[-1].transposed.bias
            bias.unflatten(0, (config.masks, -1))[:, 2] = _BETA_LOGIT_START

    def forward(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits of a block of frames.

        Args:
            features: (batch, frames, bins, channels).
            hidden: (batch, bottleneck bins, time_gru_units).

        Returns:
            logits (batch, masks · 5, frames, bins) and the next hidden.
        """
        x = F.relu(self.first(features.permute(0, 3, 1, 2)))
        skips = [x]
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x, hidden = self.time_gru(self.frequency_gru(x), hidden)
        x = self.decoder[0](x)
        for block, skip in zip(self.decoder[1:], reversed(skips[:-1]), strict=True):
            x = block(torch.cat([x, skip], dim=1))
        return x, hidden


def _decoder_blocks(config: TRUNetConfig) -> list[DecoderBlock]:
    logits = config.masks * CHANNELS_PER_MASK
    widths = (*config.decoder_channels, logits)
    skips = (0, *reversed(config.encoder_channels[:-1]))
    inputs = (config.bottleneck_channels, *config.decoder_channels)
    blocks = []
    for i, (kernel, stride) in enumerate(
        zip(config.decoder_kernels, config.decoder_strides, strict=True)
    ):
        last = i == len(widths) - 1
        middle = config.decoder_channels[-1] if last and config.wide_last_block else widths[i]
        blocks.append(
            DecoderBlock(inputs[i] + skips[i], middle, widths[i], kernel, stride, last)
        )
    return blocks
