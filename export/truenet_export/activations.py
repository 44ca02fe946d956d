"""Wide convolutions computed in whole numbers: signals in 8 unsigned bits with scales fixed by calibration.

A convolution becomes QLinearConv, with its ReLU inside (the zero point of what follows a ReLU is 0); what only moves
numbers between convolutions moves the whole ones, so what is joined has one scale; the rest stays in float. The scales
are constants, so the result does not depend on how a stream is cut. Weights have at most 7 bits here: processors
without dot-product instructions add pairs of products in 16 bits, and 2 · 255 · 63 fits there.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from truenet.grids import SignalGrid
from truenet_export.constants import ConstantNodes
from truenet_export.quantize import Weight
from truenet_export.weights_int import Floats

MOST_BITS = 7
_FEWEST_CHANNELS = 32  # narrower ones take little time, and are the features' and the masks' own
_OUTSIDE = 1e-5  # share of a signal's values, on either side, that may be clipped
_MARGIN = 1.1  # for louder values than calibration has seen
_FRAMES_PER_CALL = 100
_MOVES = {"Reshape": 1, "Transpose": 1, "Concat": None}  # how many inputs are signals; None is all

Ranges = dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution that can be computed in whole numbers, and the ReLU after it if there is one."""

    node: onnx.NodeProto
    relu: str
    output: str

    @property
    def signal(self) -> str:
        """The name of its input."""
        return self.node.input[0]


def find_convolutions(graph: onnx.GraphProto, weights: list[Weight]) -> dict[str, Convolution]:
    """The convolutions that are wide enough, by the name of their weight."""
    shapes = {weight.name: weight.values.shape for weight in weights}
    uses = Counter(name for node in graph.node for name in node.input)
    relus = {node.input[0]: node for node in graph.node if node.op_type == "Relu"}
    found = {}
    for node in graph.node:
        if node.op_type != "Conv" or uses[node.input[1]] > 1 or len(node.input) < 3:
            continue
        outputs, inputs = shapes[node.input[1]][:2]
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if min(outputs, inputs * groups) < _FEWEST_CHANNELS:
            continue
        relu = relus.get(node.output[0]) if uses[node.output[0]] == 1 else None
        output = relu.output[0] if relu else node.output[0]
        found[node.input[1]] = Convolution(node, relu.name if relu else "", output)
    return found


def measure_ranges(
    model: onnx.ModelProto, convolutions: Mapping[str, Convolution], recordings: list[Floats]
) -> Ranges:
    """Lowest and highest value of every signal that is to be in whole numbers, the same for all that are joined; zero
    is always inside.

    Args:
        recordings: (samples,) at the model's rate.
    """
    names = sorted({name for c in convolutions.values() for name in (c.signal, c.output)})
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    probe.graph.output.extend(values)
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), None, ["CPUExecutionProvider"]
    )
    facts = {entry.key: entry.value for entry in model.metadata_props}
    step = _FRAMES_PER_CALL * int(facts["hop_samples"])
    ranges = dict.fromkeys(names, (0.0, 0.0))
    for samples in recordings:
        state = np.zeros((1, int(facts["state_size"])), np.float32)
        padded = np.pad(samples, (0, -len(samples) % step))
        for block in padded.reshape(-1, 1, step):
            feeds = {"audio": block, "state": state, "faders": np.eye(3, dtype=np.float32)[:1]}
            state, *signals = session.run(["next_state", *names], feeds)
            for name, signal in zip(names, signals, strict=True):
                low, high = np.quantile(signal, (_OUTSIDE, 1 - _OUTSIDE))
                ranges[name] = (min(ranges[name][0], float(low)), max(ranges[name][1], float(high)))
    for group in _joined(model.graph, convolutions):
        lows, highs = zip(*(ranges[name] for name in group & ranges.keys()), strict=True)
        ranges |= dict.fromkeys(group & ranges.keys(), (min(lows), max(highs)))
    return ranges


def _joined(graph: onnx.GraphProto, convolutions: Mapping[str, Convolution]) -> list[set[str]]:
    """Signals that need the same grid, since some convolution gets them joined."""
    groups: list[set[str]] = []
    for convolution in convolutions.values():
        names = set(_moved(graph, convolution.signal))
        for group in [group for group in groups if group & names]:
            groups.remove(group)
            names |= group
        groups.append(names)
    return groups


def _moved(graph: onnx.GraphProto, name: str) -> list[str]:
    """A signal, and those that it is only moved from."""
    node = next((node for node in graph.node if name in node.output), None)
    if node is None or node.op_type not in _MOVES:
        return [name]
    sources = node.input[: _MOVES[node.op_type]]
    return [name, *(origin for source in sources for origin in _moved(graph, source))]


class IntegerConvolutions:
    """A `Rewrite` that puts integer convolutions in place of float ones.

    Args:
        convolutions: by the name of their weight.
        grids: of their inputs and outputs, by name.
    """

    def __init__(
        self, convolutions: Mapping[str, Convolution], grids: Mapping[str, SignalGrid]
    ) -> None:
        self.weights = frozenset(convolutions)
        self.convolutions = convolutions
        self.grids = grids

    def __call__(
        self,
        graph: onnx.GraphProto,
        head: ConstantNodes,
        scales: Mapping[str, Floats],
        scale_names: Mapping[str, str],
    ) -> None:
        """Replace the convolutions of a graph, and their biases by int32 in units of the products."""
        constants = {tensor.name: tensor for tensor in graph.initializer}
        by_output = {c.node.output[0]: (weight, c) for weight, c in self.convolutions.items()}
        relus = {c.relu for c in self.convolutions.values() if c.relu}
        moved = {
            name: self.grids[convolution.signal]
            for convolution in self.convolutions.values()
            for name in _moved(graph, convolution.signal)
        }
        nodes = _Nodes(head)
        for node in graph.node:
            output = node.output[0]
            if output in by_output:
                weight, convolution = by_output[output]
                before, after = (self.grids[n] for n in (convolution.signal, convolution.output))
                bias = constants[node.input[2]]
                bias.CopyFrom(_whole_bias(bias, before.scale * scales[weight].reshape(-1)))
                nodes.convolution(convolution, head.reshape(scale_names[weight], -1), before, after)
            elif node.name not in relus:
                if output in moved and node.op_type in _MOVES:
                    nodes.move(node, moved[output])
                nodes.made.append(node)
        kept = nodes.needed_for({value.name for value in graph.output})
        del graph.node[:]
        graph.node.extend(kept)


class _Nodes:
    """Collects the nodes of the changed graph; `x` in whole numbers is `xq`, on another grid too `xr`."""

    def __init__(self, head: ConstantNodes) -> None:
        self.made: list[onnx.NodeProto] = []
        self._head = head
        self._whole: dict[str, dict[SignalGrid, str]] = {}

    def convolution(
        self, convolution: Convolution, scales: str, before: SignalGrid, after: SignalGrid
    ) -> None:
        """In whole numbers, its output in float too."""
        node, output = convolution.node, convolution.output
        zero = self._head.constant(np.array(0, np.int8))
        inputs = [self._quantized(convolution.signal, before), *self._constants(before)]
        inputs += [node.input[1], scales, zero, *self._constants(after), node.input[2]]
        self._add("QLinearConv", inputs, self._name(output, after), node)
        self._add("DequantizeLinear", [f"{output}q", *self._constants(after)], output)

    def move(self, node: onnx.NodeProto, grid: SignalGrid) -> None:
        """The same with whole numbers."""
        signals = node.input[: _MOVES[node.op_type]]
        inputs = [*(self._quantized(x, grid) for x in signals), *node.input[len(signals) :]]
        self._add(node.op_type, inputs, self._name(node.output[0], grid), node)

    def needed_for(self, names: set[str]) -> list[onnx.NodeProto]:
        """The nodes that lead to some results, in order."""
        kept = []
        for node in reversed(self.made):
            if names.intersection(node.output):
                kept.append(node)
                names.update(node.input)
        return kept[::-1]

    def _quantized(self, signal: str, grid: SignalGrid) -> str:
        if grid not in self._whole.get(signal, {}):
            inputs = [signal, *self._constants(grid)]
            self._add("QuantizeLinear", inputs, self._name(signal, grid))
        return self._whole[signal][grid]

    def _name(self, signal: str, grid: SignalGrid) -> str:
        names = self._whole.setdefault(signal, {})
        return names.setdefault(grid, signal + "qr"[len(names)])

    def _constants(self, grid: SignalGrid) -> list[str]:
        values = np.array(grid.scale, np.float32), np.array(grid.zero, np.uint8)
        return [self._head.constant(value) for value in values]

    def _add(
        self, operator: str, inputs: list[str], output: str, like: onnx.NodeProto | None = None
    ) -> None:
        node = helper.make_node(operator, inputs, [output], name=f"{operator[0]}{output}")
        node.attribute.extend(like.attribute if like else [])
        self.made.append(node)


def signal_grid(low: float, high: float) -> SignalGrid:
    """The grid of a signal with these lowest and highest values, and a margin."""
    scale = max(_MARGIN * (high - low), 1e-6) / 255
    zero = min(max(round(-_MARGIN * low / scale), 0), 255)
    return SignalGrid(float(np.float32(scale)), zero)


def _whole_bias(bias: TensorProto, unit: Floats) -> TensorProto:
    numbers = np.rint(numpy_helper.to_array(bias) / unit)
    numbers = np.clip(numbers, -(2**30), 2**30).astype(np.int32)
    return numpy_helper.from_array(numbers, bias.name)
