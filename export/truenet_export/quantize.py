"""A pass over the clean graph: every weight of the network as whole numbers, in as few bytes as asked for.

Only what is stored changes. In front of the graph come a few operations on constants (unpack, scale, reshape) that
onnxruntime computes once, when it loads the file: at run time the graph is the float one with rounded weights, with
the same speed, the same result on every processor, and nothing that depends on how a stream is cut. (A
DequantizeLinear of a constant is not folded: it runs again in every call.)
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from truenet_export.constants import ConstantNodes
from truenet_export.weights_int import Codes, Floats, packed_bytes, round_rows

# Inputs that are weights, and the axis of their output channels: a scale each.
_WEIGHTS = {
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "GRU": {1: 1, 2: 1},
    "MatMul": {0: 0, 1: -1},
    "Gemm": {0: 0, 1: -1},
}
_BIASES = {"Conv": 2, "ConvTranspose": 2, "GRU": 3, "Gemm": 2}
_NO_RULE = {"LSTM", "ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul", "Einsum"}
_WORTH_A_SEGMENT = 1000  # zeros: leaving them out costs about 200 bytes of nodes
_STRUCTURAL = 16  # numbers at most: sums of overlaps and of faders, which stay exact
_LARGE = 500  # entries of a table of whole numbers that is worth a Cast


class Rewrite(Protocol):
    """Changes the layers of a copy of the graph; `weights` names those whose weights it wants as int8."""

    @property
    def weights(self) -> Collection[str]: ...

    def __call__(
        self,
        graph: onnx.GraphProto,
        head: ConstantNodes,
        scales: Mapping[str, Floats],
        scale_names: Mapping[str, str],
    ) -> None:
        """Change `graph`; scales are (channels, 1)."""


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight tensor and how it is stored.

    order: its axes in the order they are stored in, channels first (or taps first where zero segments are left out).
    output: the first result of its layer, and `outputs` how many numbers of it a position has.
    rows: the stored shape (…, channels, weights of a channel).
    segments: of the stored order, the places of the segments kept; empty means all.
    scales: (channels, 1), where they are given; else those with the least error.
    """

    name: str
    operator: str
    output: str
    outputs: int
    values: Floats
    order: tuple[int, ...]
    rows: tuple[int, ...]
    segments: tuple[int, ...] = ()
    segment_count: int = 1
    scales: Floats | None = None

    @property
    def stored(self) -> Floats:
        """The values in the stored order and shape."""
        return self.values.transpose(self.order).reshape(self.rows)

    @property
    def count(self) -> int:
        """Numbers that are stored."""
        kept = len(self.segments) or self.segment_count
        return self.values.size * kept // self.segment_count

    def round(self, bits: int) -> tuple[Codes, Floats]:
        """Codes in the stored order and shape, and scales (channels, 1)."""
        channels = self.rows[-2]
        by_channel = np.moveaxis(self.stored, -2, 0)
        rows = by_channel.reshape(channels, -1)
        codes, scales = round_rows(rows, bits, self.scales)
        return np.moveaxis(codes.reshape(by_channel.shape), 0, -2), scales

    def rounded(self, bits: int) -> Floats:
        """The values as the network will see them."""
        codes, scales = self.round(bits)
        shape = [self.values.shape[axis] for axis in self.order]
        return (codes * scales).reshape(shape).transpose(np.argsort(self.order)).astype(np.float32)


def find_weights(graph: onnx.GraphProto) -> list[Weight]:
    """The weights of convolutions, transposed convolutions, GRUs and matrix products, in the graph's order.

    Raises:
        ValueError: a layer that has no rule, or a weight that is no constant: it would stay in float.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Weight] = {}
    for node in graph.node:
        if node.op_type in _NO_RULE or node.domain:
            raise ValueError(f"{node.op_type} ({node.name}) has no rule for whole-number weights")
        for index, axis in _WEIGHTS.get(node.op_type, {}).items():
            name = node.input[index]
            if name in constants:
                if math.prod(constants[name].dims) <= _STRUCTURAL:
                    continue
                transposed = _attribute(node, ("transA", "transB")[index]) if index < 2 else 0
                found.setdefault(name, _weight(node, constants[name], axis, bool(transposed)))
            elif node.op_type not in ("MatMul", "Gemm"):  # whose inputs may both be signals
                raise ValueError(
                    f"the weight {name} of {node.op_type} ({node.name}) is no constant: it would "
                    "stay in float; fold the graph's constants first"
                )
    return list(found.values())


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _weight(node: onnx.NodeProto, tensor: TensorProto, axis: int, transposed: bool) -> Weight:
    values = numpy_helper.to_array(tensor)
    if values.dtype != np.float32:
        raise ValueError(f"the weight {tensor.name} of {node.op_type} is {values.dtype}, not float")
    if transposed:
        axis = -1 - axis % values.ndim
    if node.op_type == "GRU":
        order: tuple[int, ...] = (0, 1, 2)
        rows = (values.shape[0] * values.shape[1], values.shape[2])
    else:
        axis %= values.ndim
        order = (axis, *(other for other in range(values.ndim) if other != axis))
        rows = (values.shape[axis], values.size // values.shape[axis])
    gates = 3 if node.op_type == "GRU" else 1
    output = next(name for name in node.output if name)
    weight = Weight(tensor.name, node.op_type, output, rows[0] // gates, values, order, rows)
    return _without_zeros(weight) if node.op_type == "Conv" else weight


def _without_zeros(weight: Weight) -> Weight:
    """Leave out the taps that polyphase forms of transposed convolutions do not have."""
    outputs, inputs, *_, taps = weight.values.shape
    by_tap = weight.values.transpose(3, 0, 1, 2).reshape(taps * outputs, -1)
    used: NDArray[np.bool_] = np.abs(by_tap).max(axis=1) > 0
    if np.count_nonzero(~used) * by_tap.shape[1] < _WORTH_A_SEGMENT:
        return weight
    edges = np.flatnonzero(np.diff(used)) + 1
    length = math.gcd(len(used), *map(int, edges))
    kept = np.flatnonzero(used.reshape(-1, length).any(axis=1))
    return dataclasses.replace(
        weight,
        order=(3, 0, 1, 2),
        rows=(taps, outputs, inputs),
        segments=tuple(map(int, kept)),
        segment_count=len(used) // length,
    )


def stored_bytes(weights: list[Weight], bits: Mapping[str, int]) -> int:
    """Bytes of the packed numbers alone."""
    counts = dict.fromkeys(bits.values(), 0)
    for weight in weights:
        counts[bits[weight.name]] += weight.count
    return sum(packed_bytes(count, width) for width, count in counts.items())


def with_rounded_weights(
    model: onnx.ModelProto, weights: list[Weight], bits: Mapping[str, int]
) -> onnx.ModelProto:
    """The float graph with some weights rounded, to measure what that costs."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    by_name = {weight.name: weight for weight in weights}
    for tensor in rounded.graph.initializer:
        if tensor.name in bits:
            values = by_name[tensor.name].rounded(bits[tensor.name])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return rounded


def quantize(
    model: onnx.ModelProto,
    weights: list[Weight],
    bits: Mapping[str, int],
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """The graph with its weights stored in whole numbers.

    Args:
        model: the clean float graph.
        weights: what `find_weights` found in it.
        bits: the width of each, by name.
        rewrite: lets some layers compute in whole numbers too.
    """
    head = ConstantNodes()
    by_name = {weight.name: weight for weight in weights}
    scales: dict[str, Floats] = {}
    codes: dict[int, dict[str, Codes]] = {width: {} for width in bits.values()}
    for weight in weights:
        code, scales[weight.name] = weight.round(bits[weight.name])
        if weight.segments:
            code = code.reshape(weight.segment_count, -1)[list(weight.segments)]
        codes[bits[weight.name]][weight.name] = code.reshape(-1)
    scale_names = head.halves(scales)
    integer = rewrite.weights if rewrite else ()
    for width, group in sorted(codes.items()):
        for name, numbers in head.unpacked(group, width).items():
            _restore(head, by_name[name], numbers, "" if name in integer else scale_names[name])
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if rewrite:
        rewrite(changed.graph, head, scales, scale_names)
    _halve_biases(changed.graph, head)
    _shrink_tables(changed.graph, head)
    return head.before(changed)


def _restore(head: ConstantNodes, weight: Weight, numbers: str, scales: str) -> None:
    """Flat numbers to the tensor that the graph knows: zeros put back, scaled (or int8), its own order of axes."""
    if weight.segments:
        length = weight.values.size // weight.segment_count
        kept = len(weight.segments)
        places = np.full(weight.segment_count, kept)
        places[list(weight.segments)] = np.arange(kept)
        pieces = head.reshape(numbers, kept, length)
        with_zero = head.node("Pad", pieces, head.constant(np.array([0, 0, 1, 0])))
        numbers = head.node("Gather", with_zero, head.constant(places))
    if scales:
        numbers = head.node("Mul", head.reshape(numbers, *weight.rows), scales)
    else:
        numbers = head.node("Cast", numbers, to=TensorProto.INT8)
    turned = weight.order != tuple(sorted(weight.order))
    shape = tuple(weight.values.shape[axis] for axis in weight.order)
    shaped = head.reshape(numbers, *shape, outputs=1 if turned else (weight.name,))
    if turned:
        back = [int(axis) for axis in np.argsort(weight.order)]
        head.node("Transpose", shaped, outputs=(weight.name,), perm=back)


def _halve_biases(graph: onnx.GraphProto, head: ConstantNodes) -> None:
    """Biases as float16, all in one."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {
        node.input[_BIASES[node.op_type]]
        for node in graph.node
        if node.op_type in _BIASES and len(node.input) > _BIASES[node.op_type]
    }
    biases = {
        name: numpy_helper.to_array(constants[name]) for name in sorted(names & constants.keys())
    }
    for name, half in head.halves({n: b.reshape(-1) for n, b in biases.items()}).items():
        head.reshape(half, *biases[name].shape, outputs=(name,))


def _shrink_tables(graph: onnx.GraphProto, head: ConstantNodes) -> None:
    """Large float tables of small whole numbers (the quarter turns of the phase) as int8: the same numbers."""
    for tensor in graph.initializer:
        if tensor.name in head.made or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size >= _LARGE and (np.abs(values) < 128).all() and (values % 1 == 0).all():
            head.as_float(head.constant(values.astype(np.int8)), (tensor.name,))
