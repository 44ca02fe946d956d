"""The model written out as an ONNX graph, node by node: `StreamingTRUNet` in half the nodes of PyTorch's exporter.

At one frame a call most of the time goes into starting nodes, not into arithmetic. So shapes are constants (0 and −1
instead of sizes), spectra are planes (batch, real and imaginary, frames, bins), both masks are computed at once, and
what is linear is folded into the convolution beside it. `tests/test_model_file.py` holds the result against PyTorch.
"""

from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto

from truenet.features import RELATIVE_FLOOR, SMALLEST_POWER
from truenet.mask import SMALLEST_DIFFERENCE, SMALLEST_SQUARE
from truenet.streaming import StreamingTRUNet
from truenet_export.builder import GraphBuilder
from truenet_export.network_graph import mask_logits

INPUTS = ("audio", "state", "faders")
OUTPUTS = ("enhanced", "next_state")


class Spectrum(NamedTuple):
    """(batch, 2, frames, bins + 1): real and imaginary part, and the same less a quarter turn (imaginary, −real)."""

    value: str
    turned: str


def build_graph(model: StreamingTRUNet) -> onnx.ModelProto:
    """The graph of a model in evaluation mode whose batch norms are folded, with any number of frames and rows."""
    config, b = model.config, GraphBuilder()
    sizes = [size for _, size in model.state_layout]
    pieces = b.node("Split", "state", b.integers(*sizes), outputs=len(sizes), axis=1)
    samples = b.node("Concat", pieces[0], "audio", axis=1)
    spectrum = _analyse(b, model, samples)
    features, smoothed, counter = _features(b, model, spectrum, pieces[2], pieces[3])
    logits, hidden = mask_logits(b, model, features, pieces[4])
    real, imaginary = _gains(b, model, logits)
    sums = _synthesise(b, model, _multiply(b, spectrum, real, imaginary), pieces[1])
    latency = config.latency_samples
    following = [b.slice(samples, 1, -latency), b.slice(sums, 1, -latency)]
    b.node("Concat", *following, smoothed, counter, hidden, axis=1, outputs=OUTPUTS[1:])
    bounds = (b.integers(0), b.integers(-latency), b.integers(1))
    b.node("Slice", sums, *bounds, outputs=OUTPUTS[:1])
    signal, state = ("batch", "samples"), ("batch", model.state_size)
    return b.model(
        dict(zip(INPUTS, (signal, state, ("batch", 3)), strict=True)),
        dict(zip(OUTPUTS, (signal, state), strict=True)),
    )


def _analyse(b: GraphBuilder, model: StreamingTRUNet, samples: str) -> Spectrum:
    config = model.config
    hop, window = (
        b.constant(np.asarray(n, np.int64)) for n in (config.hop_samples, config.window_samples)
    )
    frames = b.node("STFT", samples, hop, b.floats(model.stft.window), window, onesided=1)
    value = b.transpose(frames, 0, 3, 1, 2)
    swapped = b.node("Gather", value, b.integers(1, 0), axis=1)
    return Spectrum(value, b.node("Mul", swapped, b.floats(torch.tensor([[[1.0]], [[-1.0]]]))))


def _features(
    b: GraphBuilder, model: StreamingTRUNet, spectrum: Spectrum, smoothed: str, counter: str
) -> tuple[str, str, str]:
    """(batch, channels, frames, bins), the next smoothed magnitudes and level, the next counter."""
    features, bins = model.features, model.config.bins
    value, turned = (b.slice(part, 3, 1) for part in spectrum)
    power = b.node("ReduceSumSquare", value, b.integers(1))
    mean_power = b.node("ReduceMean", power, b.integers(3))
    floor = b.node("Mul", mean_power, b.floats(RELATIVE_FLOOR**2))
    power = b.node("Max", b.node("Add", power, floor), b.floats(SMALLEST_POWER))
    magnitude = b.node("Sqrt", power)
    slow, level, smoothed = _smooth(b, model, magnitude, smoothed)
    cosine, sine, counter = _turn(b, model, magnitude, counter)
    channels = []
    if "log_magnitude" in features.names:  # its factor ½ is in the first convolution
        channels.append(b.node("Log", b.node("Div", magnitude, level)))
    if "pcen" in features.names:
        alpha, delta, root = (
            x.double().exp() for x in (features.log_alpha, features.log_delta, features.log_root)
        )
        normalized = b.node("Mul", magnitude, b.node("Pow", slow, b.floats(-alpha)))
        power = b.node("Pow", b.node("Add", normalized, b.floats(delta)), b.floats(root))
        channels.append(b.node("Sub", power, b.floats(delta**root)))
    if "demodulated_phase" in features.names:
        rotated = b.node("Add", b.node("Mul", value, cosine), b.node("Mul", turned, sine))
        channels.append(b.node("Div", rotated, magnitude))
    return b.node("Concat", *channels, axis=1), b.reshape(smoothed, -1, bins + 1), counter


def _smooth(
    b: GraphBuilder, model: StreamingTRUNet, magnitude: str, smoothed: str
) -> tuple[str, str, str]:
    """Smoothed magnitudes and level, (batch, 1, frames, bins) and (batch, 1, frames, 1), and both at the last frame.

    m[t] = (1 − s) m[t−1] + s e[t] is an RNN cell with ReLU, one unit and no bias, since nothing in it is negative.
    The bins are its batch, so that one node serves all of them at any number of frames.
    """
    bins = model.config.bins
    split = b.integers(bins, 1)
    both = b.node("Concat", magnitude, b.node("ReduceMean", magnitude, b.integers(3)), axis=3)
    stored = b.reshape(smoothed, -1, 1, 1, bins + 1)
    started = b.node("Greater", stored, b.floats(0.0))
    start = b.node("Where", started, stored, b.slice(both, 2, 0, 1))
    rows = b.node("Split", b.transpose(both, 2, 0, 1, 3), split, outputs=2, axis=3)
    starts = b.node("Split", start, split, outputs=2, axis=3)
    outputs = []
    slow = torch.sigmoid(model.features.smoothing_logit.double())
    for values, first, step, width in zip(
        rows, starts, (slow, model.features.level_coefficient.double()), (bins, 1), strict=True
    ):
        weights = (b.floats(step.reshape(1, 1, 1)), b.floats(1 - step.reshape(1, 1, 1)))
        inputs = (b.reshape(values, 0, -1, 1), *weights, "", "", b.reshape(first, 1, -1, 1))
        result = b.node("RNN", *inputs, activations=["Relu"], hidden_size=1)
        outputs.append(b.reshape(result, 0, -1, 1, width))  # (frames, batch, 1, width)
    joined = b.node("Concat", *outputs, axis=3)
    slow, level = b.node("Split", b.transpose(joined, 1, 2, 0, 3), split, outputs=2, axis=3)
    return slow, level, b.slice(joined, 0, -1)


def _turn(b: GraphBuilder, model: StreamingTRUNet, like: str, counter: str) -> tuple[str, str, str]:
    """Cosine and sine of every frame's phase advance, (batch, 1, frames, bins), and the next counter."""
    turns = b.constant(np.asarray(model.features.turns, np.int64))
    zero, one = (b.constant(np.asarray(n, np.int64)) for n in (0, 1))
    frames = b.node("Squeeze", b.node("Shape", like, start=2, end=3))
    whole = b.node("Cast", b.reshape(counter, -1, 1, 1), to=TensorProto.INT64)
    steps = b.node("Add", whole, b.node("Range", zero, frames, one))
    turn = b.node("Mod", steps, turns)
    cosine, sine = (
        b.node("Gather", b.floats(table), turn, axis=0)
        for table in (model.features.cosine, model.features.sine)
    )
    following = b.node("Mod", b.node("Add", b.slice(steps, 2, -1), one), turns)
    return cosine, sine, b.reshape(b.node("Cast", following, to=TensorProto.FLOAT), -1, 1)


def _masks(b: GraphBuilder, model: StreamingTRUNet, logits: str) -> tuple[str, str]:
    """Twice the masks' real and imaginary parts, (batch, masks, frames, bins): see truenet/mask.py."""
    sizes = b.integers(*3 * [model.config.masks])
    source, beta, quarter = b.node("Split", logits, sizes, outputs=3, axis=1)
    one = b.floats(1.0)
    difference = b.node("Tanh", source)
    limit = b.node("Max", b.node("Abs", difference), b.floats(SMALLEST_DIFFERENCE))
    beta = b.node("Add", b.node("Softplus", beta), one)
    beta = b.node("Min", beta, b.node("Reciprocal", limit))
    squared = b.node("Mul", beta, beta)
    product = b.node("Mul", squared, difference)
    rest = b.node("Sub", one, b.node("Mul", product, difference))
    square = b.node("Mul", b.node("Sub", squared, one), rest)
    size = b.node("Sqrt", b.node("Max", square, b.floats(SMALLEST_SQUARE)))
    if model.config.sign == "continuous":
        sign = b.node("Tanh", quarter)
    else:
        positive = b.node("GreaterOrEqual", quarter, b.floats(0.0))
        sign = b.node("Where", positive, one, b.floats(-1.0))
    return b.node("Add", product, one), b.node("Mul", sign, size)


def _gains(b: GraphBuilder, model: StreamingTRUNet, logits: str) -> tuple[str, str]:
    """Real and imaginary part of the sum of faders times masks, (batch, 1, frames, bins + 1).

    It is n + (r − n) M_¬n + (v − r) M_d, which is exactly one at faders of one, whatever the network says.
    """
    masks = model.config.masks
    voice, room, noise = np.eye(3, dtype=np.float32)
    columns = {2: [voice - room, room - noise], 1: [voice - noise]}[masks]
    matrix = np.stack([*(column / 2 for column in columns), noise], axis=1)
    faders = b.reshape(b.node("MatMul", "faders", b.constant(matrix)), -1, masks + 1, 1, 1)
    halves, noise_gain = b.node("Split", faders, b.integers(masks, 1), outputs=2, axis=1)
    real, imaginary = (
        b.node("ReduceSum", b.node("Mul", part, halves), b.integers(1))
        for part in _masks(b, model, logits)
    )
    dc_too = b.integers(0, 0, 0, 1, 0, 0, 0, 0)  # DC takes the gain of bin 1
    real = b.node("Pad", b.node("Add", real, noise_gain), dc_too, mode="edge")
    return real, b.node("Pad", imaginary, dc_too, mode="edge")


def _multiply(b: GraphBuilder, spectrum: Spectrum, real: str, imaginary: str) -> str:
    """Complex product of gains and spectrum, (batch, 2, frames, bins + 1)."""
    rotated = b.node("Mul", spectrum.turned, imaginary)
    return str(b.node("Sub", b.node("Mul", spectrum.value, real), rotated))


def _synthesise(b: GraphBuilder, model: StreamingTRUNet, spectrum: str, overlap: str) -> str:
    """Overlapping sums of the windows of all frames: (batch, (frames + parts − 1) · hop).

    The real part of the inverse transform of a spectrum without its upper half, doubled but for DC and the last bin,
    is that of the whole one. One-hot weights along the frames add up what overlaps.
    """
    window, hop = model.config.window_samples, model.config.hop_samples
    parts = window // hop
    once = torch.full((window // 2 + 1,), 2.0)
    once[0] = once[-1] = 1
    pairs = b.transpose(b.node("Mul", spectrum, b.floats(once)), 0, 2, 3, 1)
    length = b.constant(np.asarray(window, np.int64))
    samples = b.node("DFT", pairs, length, axis=2, inverse=1)
    zero = b.constant(np.asarray(0, np.int64))
    windows = b.node("Gather", samples, zero, axis=3)
    windows = b.node("Mul", windows, b.floats(model.stft.window.double() * model.stft.gain))
    pieces = b.transpose(b.reshape(windows, 0, -1, parts, hop), 0, 2, 1, 3)
    shifts = torch.eye(parts).flip(1)[None, :, :, None]  # part p of frame t belongs to block t + p
    edge = parts - 1
    sums = b.node(
        "Conv", pieces, b.floats(shifts), kernel_shape=(parts, 1), pads=(edge, 0, edge, 0)
    )
    sums = b.reshape(sums, 0, -1)
    begin = b.node("Add", b.slice(sums, 1, 0, edge * hop), overlap)
    return str(b.node("Concat", begin, b.slice(sums, 1, edge * hop), axis=1))
