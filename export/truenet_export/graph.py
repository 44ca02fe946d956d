"""The model written out as an ONNX graph, node by node: `StreamingTRUNet` in half the nodes of PyTorch's exporter.

At one frame a call a third of the time goes into starting nodes and moving numbers, not into arithmetic. So shapes are
constants (0 and −1 instead of sizes), spectra are (batch, frames, real and imaginary part, bins 1 to N/2), transforms
are matrix products, both masks are computed at once, and what is linear is folded into the convolution beside it.
`tests/test_model_file.py` holds the result against PyTorch.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto

from truenet.features import RELATIVE_FLOOR, SMALLEST_POWER
from truenet.mask import SMALLEST_SQUARE
from truenet.streaming import StreamingTRUNet
from truenet_export.builder import GraphBuilder
from truenet_export.fourier import Fourier
from truenet_export.network_graph import mask_logits

INPUTS = ("audio", "state", "faders")
OUTPUTS = ("enhanced", "next_state")
_LARGEST_SQUARE = 1e12  # of β; an infinite one would make 0 · ∞


def build_graph(model: StreamingTRUNet, whole_numbers: bool = False) -> onnx.ModelProto:
    """The graph of a model in evaluation mode whose batch norms are folded, with any number of frames and rows.

    Args:
        whole_numbers: convolutions will be computed in whole numbers; see `network_graph.mask_logits`.
    """
    config, b = model.config, GraphBuilder()
    latency, hop = config.latency_samples, config.hop_samples
    names, sizes = zip(*model.state_layout, strict=True)
    parts = b.node("Split", "state", b.integers(*sizes), outputs=len(sizes), axis=1)
    pieces = dict(zip(names, parts, strict=True))
    kept = b.node("Concat", pieces["analysis_overlap"], "audio", axis=1)
    samples = b.reshape(kept, 0, -1, hop)
    blocks = b.node("Shape", samples, start=1, end=2)
    newest = _newest(b, model, blocks)
    transform = Fourier(b, config.window_samples)
    frames = _frames(b, model, transform, samples, newest)
    spectrum = transform.forward(frames)
    swapped = b.node("Gather", spectrum, b.integers(1, 0), axis=2)
    turned = b.node("Mul", swapped, b.floats(np.array([[1.0], [-1.0]])))  # by a quarter turn back
    features = _features(b, model, (spectrum, turned), (newest, blocks), pieces)
    logits, pieces["time_gru"] = mask_logits(b, model, features, pieces["time_gru"], whole_numbers)
    real, imaginary = _gains(b, model, logits)
    rotated = b.node("Mul", turned, imaginary)
    windows = transform.inverse(b.node("Sub", b.node("Mul", spectrum, real), rotated))
    dc = b.node("ReduceSum", frames, b.integers(2, 3))  # takes the gain of bin 1
    windows = b.node("Add", windows, b.node("Mul", dc, b.slice(real, 3, 0, 1)))
    sums = _overlap(b, model, transform, windows, pieces["synthesis_overlap"])
    tail = b.slice(samples, 1, 1 - model.features.turns)
    pieces["analysis_overlap"] = b.reshape(tail, 0, latency)
    pieces["synthesis_overlap"] = b.slice(sums, 1, -latency)
    b.node("Concat", *pieces.values(), axis=1, outputs=OUTPUTS[1:])
    bounds = (b.integers(0), b.integers(-latency), b.integers(1))
    b.node("Slice", sums, *bounds, outputs=OUTPUTS[:1])
    signal, state = ("batch", "samples"), ("batch", model.state_size)
    return b.model(
        dict(zip(INPUTS, (signal, state, ("batch", 3)), strict=True)),
        dict(zip(OUTPUTS, (signal, state), strict=True)),
    )


def _newest(b: GraphBuilder, model: StreamingTRUNet, blocks: str) -> str:
    """The newest block of every frame (frames), of the number of blocks."""
    first, one = (b.constant(np.asarray(n, np.int64)) for n in (model.features.turns - 1, 1))
    return str(b.node("Range", first, b.node("Squeeze", blocks), one))


def _frames(
    b: GraphBuilder, model: StreamingTRUNet, transform: Fourier, samples: str, newest: str
) -> str:
    """Windowed frames as the transform takes them, of blocks of samples (batch, blocks, hop)."""
    places = np.arange(1 - model.features.turns, 1)
    places = b.node("Add", b.reshape(newest, -1, 1), b.constant(places))
    rows = b.node("Gather", samples, places, axis=1)
    shape = (transform.rows, transform.columns)
    window = b.floats(model.stft.window.reshape(shape))
    return str(b.node("Mul", b.reshape(rows, 0, 0, *shape), window))


def _features(
    b: GraphBuilder,
    model: StreamingTRUNet,
    spectrum: tuple[str, str],
    blocks: tuple[str, str],
    pieces: dict[str, str],
) -> str:
    """(batch, channels, frames, bins), of the spectrum and itself a quarter turn back; renews the pieces of the state.

    Args:
        blocks: the newest of every frame, and their number.
    """
    features = model.features
    power = b.node("ReduceSumSquare", spectrum[0], b.integers(2))
    floor = b.node("Mul", b.node("ReduceMean", power, b.integers(3)), b.floats(RELATIVE_FLOOR**2))
    power = b.node("Clip", b.node("Add", power, floor), b.floats(SMALLEST_POWER))
    magnitude = b.node("Sqrt", power)
    slow, level, smoothed = _smooth(b, model, magnitude, pieces["smoothed_magnitude_and_level"])
    pieces["smoothed_magnitude_and_level"] = smoothed
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
        turn, pieces["frame_counter"] = _turns(b, model, *blocks, pieces["frame_counter"])
        cosine, sine = (
            b.node("Gather", b.floats(table[:, None]), turn, axis=0)
            for table in (features.cosine, features.sine)
        )
        rotated = b.node(
            "Add", b.node("Mul", spectrum[0], cosine), b.node("Mul", spectrum[1], sine)
        )
        channels.append(b.node("Div", rotated, magnitude))
    if "phase_advance" in features.names:
        phase = b.node("Div", spectrum[0], magnitude)
        channels.append(_advance(b, model, phase, pieces["last_phase"]))
        pieces["last_phase"] = b.reshape(b.slice(phase, 1, -1), 0, 2 * features.bins)
    return b.transpose(b.node("Concat", *channels, axis=2), 0, 2, 1, 3)


def _turns(
    b: GraphBuilder, model: StreamingTRUNet, newest: str, blocks: str, counter: str
) -> tuple[str, str]:
    """The phase of the hops until every frame, in turns (batch, frames), and the next counter."""
    modulus = b.constant(np.asarray(model.features.turns, np.int64))
    whole = b.node("Cast", b.node("Add", counter, b.floats(1.0)), to=TensorProto.INT64)
    turn = b.node("Mod", b.node("Add", whole, newest), modulus)
    following = b.node("Mod", b.node("Add", whole, blocks), modulus)
    return turn, b.node("Cast", following, to=TensorProto.FLOAT)


def _advance(b: GraphBuilder, model: StreamingTRUNet, phase: str, last: str) -> str:
    """What the phase turned by since the last frame, less a hop's, as phase itself: (batch, frames, 2, bins)."""
    bins, cosine, sine = model.config.bins, model.features.cosine[1], model.features.sine[1]
    last = b.reshape(last, -1, 1, 2, bins)
    before = b.slice(b.node("Concat", last, phase, axis=1), 1, 0, -1)
    swapped = b.node("Gather", before, b.integers(1, 0), axis=2)
    parts = []
    for own, other in ((cosine, sine), (-sine, cosine)):  # a hop later; that, a quarter turn on
        turned = b.node("Mul", before, b.floats(torch.stack([own, own])))
        rest = b.node("Mul", swapped, b.floats(torch.stack([-other, other])))
        product = b.node("Mul", phase, b.node("Add", turned, rest))
        parts.append(b.node("ReduceSum", product, b.integers(2)))
    return str(b.node("Concat", *parts, axis=2))


def _smooth(
    b: GraphBuilder, model: StreamingTRUNet, magnitude: str, smoothed: str
) -> tuple[str, str, str]:
    """Smoothed magnitudes and level, (batch, frames, 1, bins) and (batch, frames, 1, 1), and both at the last frame.

    m[t] = (1 − s) m[t−1] + s e[t] is an RNN cell with ReLU, one unit and no bias, since nothing in it is negative.
    The bins are its batch, so that one node serves all of them at any number of frames.
    """
    bins = model.config.bins
    split = b.integers(bins, 1)
    both = b.node("Concat", magnitude, b.node("ReduceMean", magnitude, b.integers(3)), axis=3)
    rows = b.transpose(both, 1, 0, 2, 3)
    stored = b.reshape(smoothed, 1, -1, 1, bins + 1)
    unset = b.node("Sub", b.floats(1.0), b.node("Sign", stored))  # zero: the stream starts here
    start = b.node("Add", stored, b.node("Mul", unset, b.slice(rows, 0, 0, 1)))
    values = b.node("Split", rows, split, outputs=2, axis=3)
    starts = b.node("Split", start, split, outputs=2, axis=3)
    slow = torch.sigmoid(model.features.smoothing_logit.double())
    steps = (slow, model.features.level_coefficient.double())
    outputs, following = [], []
    for value, first, step, width in zip(values, starts, steps, (bins, 1), strict=True):
        weights = (b.floats(step.reshape(1, 1, 1)), b.floats(1 - step.reshape(1, 1, 1)))
        inputs = (b.reshape(value, 0, -1, 1), *weights, "", "", b.reshape(first, 1, -1, 1))
        every, last = b.node("RNN", *inputs, outputs=2, activations=["Relu"], hidden_size=1)
        outputs.append(b.transpose(b.reshape(every, 0, -1, 1, width), 1, 0, 2, 3))
        following.append(b.reshape(last, -1, width))
    return outputs[0], outputs[1], b.node("Concat", *following, axis=1)


def _gains(b: GraphBuilder, model: StreamingTRUNet, logits: str) -> tuple[str, str]:
    """Real and imaginary part of the sum of faders times masks, (batch, frames, 1, bins).

    It is n + (r − n) M_¬n + (v − r) M_d, which is exactly one at faders of one, whatever the network says.
    """
    masks, bins = model.config.masks, model.config.bins
    voice, room, noise = np.eye(3, dtype=np.float32)
    halves = [c / 2 for c in {2: [voice - room, room - noise], 1: [voice - noise]}[masks]]
    matrix = np.stack([*halves, noise + sum(halves)], axis=1)
    faders = b.node("MatMul", b.reshape("faders", 0, 1, 3), b.constant(matrix))
    gains, offset = b.node("Split", faders, b.integers(masks, 1), outputs=2, axis=2)
    real, imaginary = (b.node("MatMul", gains, part) for part in _masks(b, model, logits))
    real = b.node("Add", real, offset)
    return b.reshape(real, 0, -1, 1, bins), b.reshape(imaginary, 0, -1, 1, bins)


def _masks(b: GraphBuilder, model: StreamingTRUNet, logits: str) -> tuple[str, str]:
    """Twice the masks' real parts less one, and imaginary parts, (batch, masks, frames · bins): truenet/mask.py."""
    masks = model.config.masks
    flat = b.reshape(logits, 0, 3 * masks, -1)
    source, beta, quarter = b.node("Split", flat, b.integers(*3 * [masks]), outputs=3, axis=1)
    one = b.floats(1.0)
    difference = b.node("Tanh", source)
    beta = b.node("Log", b.node("Add", b.node("Exp", beta), b.floats(np.e)))  # 1 + softplus(· − 1)
    limit = b.node("Reciprocal", b.node("Mul", difference, difference))
    largest = b.floats(_LARGEST_SQUARE)
    squared = b.node("Min", b.node("Mul", beta, beta), limit, largest)
    product = b.node("Mul", squared, difference)
    rest = b.node("Sub", one, b.node("Mul", product, difference))
    square = b.node("Mul", b.node("Sub", squared, one), rest)
    size = b.node("Sqrt", b.node("Clip", square, b.floats(SMALLEST_SQUARE)))
    if model.config.sign == "continuous":
        sign = b.node("Tanh", quarter)
    else:
        positive = b.node("GreaterOrEqual", quarter, b.floats(0.0))
        sign = b.node("Where", positive, one, b.floats(-1.0))
    return product, b.node("Mul", sign, size)


def _overlap(
    b: GraphBuilder, model: StreamingTRUNet, transform: Fourier, windows: str, overlap: str
) -> str:
    """Overlapping sums of the windows of all frames: (batch, (frames + parts − 1) · hop).

    One-hot weights along the frames add up what overlaps.
    """
    hop, parts = model.config.hop_samples, model.features.turns
    window = b.floats(model.stft.window.reshape(transform.rows, transform.columns))
    gain = b.floats(model.stft.gain / model.config.window_samples)
    windows = b.node("Mul", windows, b.node("Mul", window, gain))
    pieces = b.transpose(b.reshape(windows, 0, -1, parts, hop), 0, 2, 1, 3)
    shifts = torch.eye(parts).flip(1)[None, :, :, None]  # part p of frame t belongs to block t + p
    edge = parts - 1
    sums = b.node(
        "Conv", pieces, b.floats(shifts), kernel_shape=(parts, 1), pads=(edge, 0, edge, 0)
    )
    sums = b.reshape(sums, 0, -1)
    begin = b.node("Add", b.slice(sums, 1, 0, edge * hop), overlap)
    return str(b.node("Concat", begin, b.slice(sums, 1, edge * hop), axis=1))
