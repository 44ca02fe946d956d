"""TRU-Net: a U-Net along frequency with a recurrent bottleneck (arXiv 2102.03207 v3, Fig. 1).

No kernel spans time: the only memory is the time GRU's state (and the features' smoother). Tensors are
(batch, channels, frames, bins) in channels-last order, where folding frames into the batch is free.

Strided and transposed convolutions keep the paper's parameters but are computed as stride-1 polyphase ones, which
is several times faster to train on CPUs; on GPUs depthwise ones are sums of shifted products. `tests/test_network.py`
holds them against the stock operators.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truenet.config import TRUNetConfig
from truenet.mask import CHANNELS_PER_MASK

_BETA_LOGIT_START = -3.0  # β ≈ 1.05: masks start almost real


class FrequencyConv(nn.Conv2d):
    """Convolution along frequency: kernel (1, k), stride (1, s), padding k // 2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins / stride)."""
        depthwise = self.groups == self.in_channels == self.out_channels
        if depthwise and x.is_cuda:
            return self.shifted(x)
        if self.stride[1] != 2 or not depthwise:
            return super().forward(x)
        # Even and odd samples become channels (free in channels-last order) with every second tap each.
        pairs = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).flatten(3).permute(0, 3, 1, 2)
        both = F.conv2d(pairs, self._phase_taps(), padding=(0, 1), groups=2 * self.groups)
        assert self.bias is not None
        even, odd = both.chunk(2, dim=1)
        return even + odd + self.bias[:, None, None]

    def shifted(self, x: Tensor) -> Tensor:
        """The depthwise convolution as a sum of shifted products: compiled for a GPU, a kernel that reads x once."""
        kernel, stride = self.kernel_size[1], self.stride[1]
        bins = x.shape[3] // stride
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, kernel // 2, kernel // 2))
        taps = self.weight[:, 0, 0].unbind(1)
        assert self.bias is not None
        y = self.bias
        for shift, tap in enumerate(taps):
            y = y + padded[:, :, shift : shift + stride * bins : stride] * tap
        return y.to(x.dtype).permute(0, 3, 1, 2)

    def _phase_taps(self) -> Tensor:
        """(2 · channels, 1, 1, 3): the taps of even, then of odd samples, for the neighbours i − 1, i, i + 1."""
        kernel = self.kernel_size[1]
        taps = [[kernel // 2 + phase + 2 * shift for shift in (-1, 0, 1)] for phase in (0, 1)]
        padded = F.pad(self.weight, (0, 1))  # the column of zeros stands for taps that do not exist
        columns = [tap if 0 <= tap < kernel else kernel for both in taps for tap in both]
        return torch.cat(_taps(padded, columns).chunk(2, dim=3))


class FrequencyTransposedConv(nn.ConvTranspose2d):
    """Transposed convolution along frequency whose output is exactly `stride` times as long."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(
            inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), (0, stride - 1)
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins * stride)."""
        kernel, stride = self.kernel_size[1], self.stride[1]
        weight = self.weight.transpose(0, 1)
        if stride == 1:
            return F.conv2d(x, weight.flip(3), self.bias, padding=(0, kernel // 2))
        # Output 2m takes the taps of one parity from inputs m − 1, m, m + 1; output 2m + 1 those of the other.
        taps = [[kernel // 2 + phase - 2 * shift for shift in (-1, 0, 1)] for phase in (0, 1)]
        columns = [tap if 0 <= tap < kernel else kernel for both in taps for tap in both]
        phases = torch.cat(_taps(F.pad(weight, (0, 1)), columns).chunk(2, dim=3))
        assert self.bias is not None
        both = F.conv2d(x, phases, self.bias.repeat(2), padding=(0, 1))
        interleaved = both.permute(0, 2, 3, 1).unflatten(3, (2, -1)).flatten(2, 3)
        return interleaved.permute(0, 3, 1, 2)


def _taps(weight: Tensor, columns: list[int]) -> Tensor:
    """Some taps of a weight, in this order: indexing with a list would copy it to a GPU at every step."""
    taps = weight.unbind(3)
    return torch.stack([taps[column] for column in columns], dim=3)


def _recur(gru: nn.GRU, rows: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A GRU; on a GPU as precise as its weights: autocast knows only float16 for it, too coarse for small gradients."""
    if not rows.is_cuda:
        return gru(rows, hidden)
    with torch.autocast("cuda", enabled=False):
        return gru(rows.to(next(gru.parameters()).dtype), hidden)


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
        batch, _, frames, bins = x.shape
        # rows: (batch · frames, bins, 2 · units)
        rows, _ = _recur(self.gru, x.permute(0, 2, 3, 1).flatten(0, 1))
        x = rows.reshape(batch, frames, bins, 2 * self.gru.hidden_size).permute(0, 3, 1, 2)
        return F.relu(self.pointwise_norm(self.pointwise(x)))


class TimeGRU(nn.Module):
    """GRU over the frames, one cell shared by all bins, then pointwise, batch norm and ReLU: the network's memory."""

    def __init__(self, inputs: int, units: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, units, batch_first=True)
        self.pointwise = FrequencyConv(units, outputs, 1, 1)
        self.pointwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, inputs, frames, bins), hidden (batch, bins, units) to the same with outputs, and the next hidden."""
        batch, _, frames, bins = x.shape
        rows, following = _recur(
            self.gru, x.permute(0, 3, 2, 1).flatten(0, 1), hidden.flatten(0, 1).unsqueeze(0)
        )  # (batch · bins, frames, units)
        x = rows.reshape(batch, bins, frames, self.gru.hidden_size).permute(0, 3, 2, 1)
        x = F.relu(self.pointwise_norm(self.pointwise(x)))
        return x, following.reshape(batch, bins, self.gru.hidden_size)


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
        blocks = _decoder_blocks(config)
        self.decoder = nn.ModuleList(blocks)
        with torch.no_grad():
            bias = blocks[-1].transposed.bias
            assert bias is not None
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
        blocks.append(DecoderBlock(inputs[i] + skips[i], middle, widths[i], kernel, stride, last))
    return blocks
