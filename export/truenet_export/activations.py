"""Wide convolutions computed in whole numbers: signals in 8 unsigned bits with scales fixed by calibration.

A convolution becomes QLinearConv, with its ReLU inside (the zero point of what follows a ReLU is 0); what is not a
convolution stays in float. The scales are constants, so the result does not depend on how a stream is cut. Weights
have at most 7 bits here: processors without dot-product instructions add pairs of products in 16 bits, and
2 · 255 · 63 fits there.
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
    """Lowest and highest value of every signal that is to be in whole numbers; zero is always inside.

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
    return ranges


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
        nodes: list[onnx.NodeProto] = []
        whole: set[str] = set()  # signals that exist in whole numbers
        for node in graph.node:
            if node.output[0] in by_output:
                weight, convolution = by_output[node.output[0]]
                bias = constants[node.input[2]]
                unit = np.float32(self.grids[convolution.signal].scale) * scales[weight].reshape(-1)
                bias.CopyFrom(_whole_bias(bias, unit))
                name = head.reshape(scale_names[weight], -1)
                nodes.extend(self._convolution(convolution, head, name, whole))
            elif node.name not in relus:
                nodes.append(node)
        used = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
        kept = [node for node in nodes if used.intersection(node.output)]
        del graph.node[:]
        graph.node.extend(kept)

    def _convolution(
        self, convolution: Convolution, head: ConstantNodes, scales: str, whole: set[str]
    ) -> list[onnx.NodeProto]:
        signal, output, node = convolution.signal, convolution.output, convolution.node
        source, result = (
            [
                head.constant(np.array(self.grids[name].scale, np.float32)),
                head.constant(np.array(self.grids[name].zero, np.uint8)),
            ]
            for name in (signal, output)
        )
        made = []
        if signal not in whole:
            made.append(_node("QuantizeLinear", [signal, *source], f"{signal}q"))
        zero = head.constant(np.array(0, np.int8))
        inputs = [f"{signal}q", *source, node.input[1], scales, zero, *result, node.input[2]]
        made.append(_node("QLinearConv", inputs, f"{output}q"))
        made[-1].attribute.extend(node.attribute)
        made.append(_node("DequantizeLinear", [f"{output}q", *result], output))
        whole.update((signal, output))
        return made


def signal_grid(low: float, high: float) -> SignalGrid:
    """The grid of a signal with these lowest and highest values, and a margin."""
    scale = max(_MARGIN * (high - low), 1e-6) / 255
    zero = min(max(round(-_MARGIN * low / scale), 0), 255)
    return SignalGrid(float(np.float32(scale)), zero)


def _whole_bias(bias: TensorProto, unit: Floats) -> TensorProto:
    numbers = np.rint(numpy_helper.to_array(bias) / unit)
    numbers = np.clip(numbers, -(2**30), 2**30).astype(np.int32)
    return numpy_helper.from_array(numbers, bias.name)


def _node(operator: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=f"{operator[0]}{output}")
