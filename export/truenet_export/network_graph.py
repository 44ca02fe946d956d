"""The network part of the model file: features to mask logits, as ONNX nodes."""

from typing import cast

import torch
from torch import Tensor, nn

from truenet.mask import CHANNELS_PER_MASK
from truenet.network import DecoderBlock, EncoderBlock, FrequencyConv
from truenet.streaming import StreamingTRUNet
from truenet_export.builder import GraphBuilder


def mask_logits(
    b: GraphBuilder, model: StreamingTRUNet, features: str, hidden: str, whole_numbers: bool
) -> tuple[str, str]:
    """Mask logits (batch, 3 · masks, frames, bins) as `_last_layer` arranges them, and the next hidden.

    Args:
        whole_numbers: join the inputs of the decoder's blocks before a convolution, instead of adding up one
            convolution of each: a sum is free in float, and one more rounding in whole numbers.
    """
    network, channels = model.network, model.config.encoder_channels
    first = network.first.weight.detach().double().clone()
    if "log_magnitude" in model.features.names:
        first[:, 0] /= 2
    x = _conv(b, features, network.first, first)
    skips = [x]
    for encoder in cast(list[EncoderBlock], network.encoder):
        x = _conv(b, _conv(b, x, encoder.pointwise), encoder.depthwise)
        skips.append(x)
    x, hidden = _bottleneck(b, model, x, hidden, b.node("Shape", features, start=2, end=3))
    bins = model.config.bins // model.config.encoder_stride
    for i, block in enumerate(cast(list[DecoderBlock], network.decoder)):
        if i == 0 or whole_numbers:
            x = x if i == 0 else b.node("Concat", x, skips[-1 - i], axis=1)
            x = _conv(b, x, block.pointwise)
        else:
            x = _conv_of_both(b, x, skips[-1 - i], channels[-1 - i], block.pointwise, bins)
        layer = block.transposed
        last = block is network.decoder[-1]
        assert layer.bias is not None
        weights = (layer.weight, layer.bias)
        if last:
            weights = _last_layer(block, model.config.masks)
        x = _transposed(b, x, *weights, layer.stride[1], bins, relu=not last)
        bins *= layer.stride[1]
    return x, hidden


def _bottleneck(
    b: GraphBuilder, model: StreamingTRUNet, x: str, hidden: str, frames: str
) -> tuple[str, str]:
    """Frequency GRU, time GRU: (batch, channels, frames, bins) to the same, and the next hidden, packed.

    A transpose that only moves channels, or only dimensions of size one, is much faster than any other, so none does
    more than that at one frame a call.
    """
    config, network = model.config, model.network
    bins = config.bins // config.encoder_stride
    width, units = config.bottleneck_channels, config.time_gru_units
    x = b.reshape(b.transpose(x, 0, 2, 3, 1), -1, bins, config.encoder_channels[-1])
    both, _ = _gru(b, b.transpose(x, 1, 0, 2), network.frequency_gru.gru)
    x = b.transpose(both, 2, 0, 1, 3)  # (batch · frames, bins, 2, units)
    x = _dense(b, b.reshape(x, -1, 2 * config.frequency_gru_units), network.frequency_gru.pointwise)
    shape = b.node("Concat", b.integers(-1), frames, b.integers(bins * width), axis=0)
    rows = b.reshape(b.transpose(b.node("Reshape", x, shape), 1, 0, 2), 0, -1, width)
    start = b.reshape(hidden, 1, -1, units)  # (1, batch · bins, units)
    outputs, following = _gru(b, rows, network.time_gru.gru, start)
    x = _dense(b, b.reshape(outputs, -1, units), network.time_gru.pointwise)
    shape = b.node("Concat", frames, b.integers(-1, bins * width), axis=0)
    x = b.reshape(b.transpose(b.node("Reshape", x, shape), 1, 0, 2), 0, 0, bins, width)
    return b.transpose(x, 0, 3, 1, 2), b.reshape(following, -1, bins * units)


def _gru(b: GraphBuilder, x: str, gru: nn.GRU, start: str = "") -> list[str]:
    """Outputs (steps, directions, rows, units) and last hidden of a GRU over x (steps, rows, inputs)."""
    directions = ["", "_reverse"][: 1 + gru.bidirectional]

    def stacked(name: str) -> Tensor:
        parts = [getattr(gru, f"{name}_l0{d}").detach().double().chunk(3) for d in directions]
        return torch.stack([torch.cat([update, reset, new]) for reset, update, new in parts])

    biases = torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)
    weights = [b.floats(x) for x in (stacked("weight_ih"), stacked("weight_hh"), biases)]
    inputs = [x, *weights, *(["", start] if start else [])]
    return list(
        b.node(
            "GRU",
            *inputs,
            outputs=2,
            hidden_size=gru.hidden_size,
            direction="bidirectional" if gru.bidirectional else "forward",
            linear_before_reset=1,
        )
    )


def _dense(b: GraphBuilder, x: str, conv: FrequencyConv) -> str:
    """A pointwise convolution and ReLU on rows (rows, inputs)."""
    assert conv.bias is not None
    weight = b.floats(conv.weight.flatten(1))
    return str(b.node("Relu", b.node("Gemm", x, weight, b.floats(conv.bias), transB=1)))


def _conv(b: GraphBuilder, x: str, conv: FrequencyConv, weight: Tensor | None = None) -> str:
    """Convolution and ReLU."""
    padding = conv.padding[1]
    assert isinstance(padding, int)
    assert conv.bias is not None
    x = b.node(
        "Conv",
        x,
        b.floats(conv.weight if weight is None else weight),
        b.floats(conv.bias),
        kernel_shape=conv.kernel_size,
        strides=conv.stride,
        pads=(0, padding, 0, padding),
        group=conv.groups,
    )
    return str(b.node("Relu", x))


def _conv_of_both(
    b: GraphBuilder, x: str, skip: str, skip_channels: int, conv: FrequencyConv, bins: int
) -> str:
    """Pointwise convolution and ReLU of channels that are not joined first.

    onnxruntime adds up within the second convolution, but only if it knows that their shapes are the same.
    """
    inputs = conv.in_channels - skip_channels
    assert conv.bias is not None
    weight = conv.weight.split([inputs, skip_channels], dim=1)
    one = b.node("Conv", x, b.floats(weight[0]), kernel_shape=(1, 1))
    other = b.node("Conv", skip, b.floats(weight[1]), b.floats(conv.bias), kernel_shape=(1, 1))
    b.shapes[one] = b.shapes[other] = ("batch", conv.out_channels, "frames", bins)
    return str(b.node("Relu", b.node("Add", one, other)))


def _transposed(
    b: GraphBuilder, x: str, weight: Tensor, bias: Tensor, stride: int, bins: int, relu: bool
) -> str:
    """Transposed convolution as a plain one whose outputs for even and odd bins are then interleaved.

    Args:
        weight: (inputs, outputs, 1, kernel).
    """
    weight = weight.detach().double().transpose(0, 1)
    outputs, inputs, _, kernel = weight.shape
    pad = kernel // 2
    # Bin stride · m + phase takes tap pad + phase − stride · shift from bin m + shift.
    shifts = range(-((kernel - 1 - pad) // stride), (pad + stride - 1) // stride + 1)
    taps = weight.new_zeros(stride, outputs, inputs, 1, len(shifts))
    for phase in range(stride):
        for place, shift in enumerate(shifts):
            tap = pad + phase - stride * shift
            if 0 <= tap < kernel:
                taps[phase, ..., place] = weight[..., tap]
    x = b.node(
        "Conv",
        x,
        b.floats(taps.flatten(0, 1)),
        b.floats(bias.repeat(stride)),
        kernel_shape=(1, len(shifts)),
        pads=(0, -shifts[0], 0, shifts[-1]),
    )
    x = b.node("Relu", x) if relu else x
    if stride == 1:
        return str(x)
    rows = b.reshape(b.transpose(x, 0, 2, 3, 1), 0, 0, stride * bins, outputs)
    return b.transpose(rows, 0, 3, 1, 2)


def _last_layer(block: DecoderBlock, masks: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of the last layer for ½(z_k − z_¬k), ψ_β + 1 and ½(q_0 − q_1) of all masks, in this order."""
    assert block.transposed.bias is not None
    mixing = torch.zeros(3, CHANNELS_PER_MASK, dtype=torch.float64)
    mixing[0, 0], mixing[0, 1], mixing[1, 2], mixing[2, 3], mixing[2, 4] = 0.5, -0.5, 1, 0.5, -0.5
    weight = block.transposed.weight.detach().double().unflatten(1, (masks, CHANNELS_PER_MASK))
    bias = block.transposed.bias.detach().double().unflatten(0, (masks, CHANNELS_PER_MASK))
    weight = torch.einsum("imcak,jc->ijmak", weight, mixing).flatten(1, 2)
    return weight, (
        torch.einsum("mc,jc->jm", bias, mixing) + mixing.new_tensor([[0], [1], [0]])
    ).flatten()
