"""The network part of the model file: features to mask logits, as ONNX nodes."""

from typing import cast

import torch
from torch import Tensor, nn

from truenet.mask import CHANNELS_PER_MASK
from truenet.network import DecoderBlock, EncoderBlock, FrequencyConv
from truenet.streaming import StreamingTRUNet
from truenet_export.builder import GraphBuilder


def mask_logits(
    b: GraphBuilder, model: StreamingTRUNet, features: str, hidden: str
) -> tuple[str, str]:
    """Mask logits (batch, 3 · masks, frames, bins) as `_last_layer` arranges them, and the next hidden."""
    network = model.network
    first = network.first.weight.detach().double().clone()
    if "log_magnitude" in model.features.names:
        first[:, model.features.names.index("log_magnitude")] /= 2
    x = _conv(b, features, network.first, first)
    skips = [x]
    for encoder in cast(list[EncoderBlock], network.encoder):
        x = _conv(b, _conv(b, x, encoder.pointwise), encoder.depthwise)
        skips.append(x)
    x, hidden = _bottleneck(b, model, x, hidden)
    bins = model.config.bins // model.config.encoder_stride
    for i, block in enumerate(cast(list[DecoderBlock], network.decoder)):
        x = x if i == 0 else b.node("Concat", x, skips[-1 - i], axis=1)
        x = _conv(b, x, block.pointwise)
        layer = block.transposed
        last = block is network.decoder[-1]
        assert layer.bias is not None
        weights = (layer.weight, layer.bias)
        if last:
            weights = _last_layer(block, model.config.masks)
        x = _transposed(b, x, *weights, layer.stride[1], bins, relu=not last)
        bins *= layer.stride[1]
    return x, hidden


def _bottleneck(b: GraphBuilder, model: StreamingTRUNet, x: str, hidden: str) -> tuple[str, str]:
    """Frequency GRU, time GRU: (batch, channels, frames, bins) to the same, and the next hidden, packed."""
    config, network = model.config, model.network
    bins = config.bins // config.encoder_stride
    start = b.reshape(hidden, 1, -1, config.time_gru_units)  # (1, batch · bins, units)
    rows = b.reshape(b.transpose(x, 3, 2, 0, 1), bins, -1, config.encoder_channels[-1])
    both, _ = _gru(b, rows, network.frequency_gru.gru)  # (bins, 2, frames · batch, units)
    x = b.reshape(b.transpose(both, 2, 0, 1, 3), -1, 2 * config.frequency_gru_units)
    x = _dense(b, x, network.frequency_gru.pointwise)
    x = b.node("Reshape", x, b.sizes(start, 1, -1, None, config.bottleneck_channels))
    outputs, following = _gru(b, x, network.time_gru.gru, start)
    x = _dense(b, b.reshape(outputs, -1, config.time_gru_units), network.time_gru.pointwise)
    x = b.node("Reshape", x, b.sizes("state", 0, -1, None, bins, config.bottleneck_channels))
    packed = b.reshape(following, -1, bins * config.time_gru_units)
    return b.transpose(x, 1, 3, 0, 2), packed


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
    weight = conv.weight if weight is None else weight
    bias = conv.bias
    assert bias is not None
    padding = conv.padding[1]
    assert isinstance(padding, int)
    x = b.node(
        "Conv",
        x,
        b.floats(weight),
        b.floats(bias),
        kernel_shape=conv.kernel_size,
        strides=conv.stride,
        pads=(0, padding, 0, padding),
        group=conv.groups,
    )
    return str(b.node("Relu", x))


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
    if stride == 1:
        taps = weight.flip(3)
    else:  # bin 2m + p takes tap pad + p − 2s from bin m + s
        taps = weight.new_zeros(2, outputs, inputs, 1, 3)
        for phase in (0, 1):
            for shift in (-1, 0, 1):
                tap = pad + phase - 2 * shift
                if 0 <= tap < kernel:
                    taps[phase, ..., shift + 1] = weight[..., tap]
        taps, bias = taps.flatten(0, 1), bias.repeat(2)
    width = taps.shape[3]
    x = b.node(
        "Conv",
        x,
        b.floats(taps),
        b.floats(bias),
        kernel_shape=(1, width),
        pads=(0, width // 2, 0, width // 2),
    )
    x = b.node("Relu", x) if relu else x
    if stride == 1:
        return x
    pairs = b.transpose(b.reshape(x, 0, 2, outputs, -1, bins), 0, 2, 3, 4, 1)
    return b.reshape(pairs, 0, outputs, -1, 2 * bins)


def _last_layer(block: DecoderBlock, masks: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of the last layer for ½(z_k − z_¬k), ψ_β and ½(q_0 − q_1) of all masks, in this order."""
    assert block.transposed.bias is not None
    mixing = torch.zeros(3, CHANNELS_PER_MASK, dtype=torch.float64)
    mixing[0, 0], mixing[0, 1], mixing[1, 2], mixing[2, 3], mixing[2, 4] = 0.5, -0.5, 1, 0.5, -0.5
    weight = block.transposed.weight.detach().double().unflatten(1, (masks, CHANNELS_PER_MASK))
    bias = block.transposed.bias.detach().double().unflatten(0, (masks, CHANNELS_PER_MASK))
    weight = torch.einsum("imcak,jc->ijmak", weight, mixing).flatten(1, 2)
    return weight, torch.einsum("mc,jc->jm", bias, mixing).flatten()
