"""Operations on constants in front of a graph, which onnxruntime computes once when it loads the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from truenet_export.weights_int import Codes, Floats, bytes_in_group, pack


class ConstantNodes:
    """Nodes that make the initializers of a graph from smaller ones."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}

    def constant(self, values: NDArray[Any]) -> str:
        """The name of an initializer of these values; equal ones are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return self._constants[key].name

    def node(self, operator: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Append a node of one output and name it; `result` is one of the graph's initializers."""
        return self._append(operator, inputs, [result or f"h{len(self._nodes)}"], attributes)[0]

    def _append(
        self, operator: str, inputs: tuple[str, ...], outputs: list[str], attributes: dict[str, Any]
    ) -> list[str]:
        name = f"q{len(self._nodes)}"  # onnxruntime 1.20 takes no nameless nodes
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        self.made.update(outputs)
        return outputs

    def as_float(self, name: str, result: str = "") -> str:
        """A Cast to float32."""
        return self.node("Cast", name, result=result, to=TensorProto.FLOAT)

    def reshape(self, name: str, shape: tuple[int, ...], result: str = "") -> str:
        """A Reshape to a fixed shape."""
        return self.node("Reshape", name, self.constant(np.array(shape, np.int64)), result=result)

    def split(self, name: str, sizes: Mapping[str, int]) -> dict[str, str]:
        """Cut along the first axis; names of the pieces by the keys of `sizes`."""
        lengths = self.constant(np.array(list(sizes.values()), np.int64))
        count = len(self._nodes)
        pieces = [f"h{count}_{index}" for index in range(len(sizes))]
        return dict(zip(sizes, self._append("Split", (name, lengths), pieces, {}), strict=True))

    def halves(self, values: Mapping[str, Floats]) -> dict[str, str]:
        """Arrays of equal width as one float16 array, cast and cut."""
        if not values:
            return {}
        together = np.concatenate(list(values.values())).astype(np.float16)
        whole = self.as_float(self.constant(together))
        return self.split(whole, {name: len(array) for name, array in values.items()})

    def unpacked(self, codes: Mapping[str, Codes], bits: int) -> dict[str, str]:
        """Flat codes, stored in `bits` each, as floats; see `weights_int.pack`."""
        flat = np.concatenate(list(codes.values()))
        sizes = {name: array.size for name, array in codes.items()}
        if bits == 8:
            return self.split(self.as_float(self.constant(flat)), sizes)
        packed = pack(flat, bits)
        sizes[""] = (
            packed.shape[1] * (bytes_in_group(bits) + 1) - flat.size
        )  # the last group's rest
        stored = self.as_float(self.constant(packed))
        step = self.constant(np.array(2.0**bits, np.float32))
        high = self.node("Floor", self.node("Div", stored, step))
        low = self.node("Sub", stored, self.node("Mul", high, step))
        places = 2.0 ** ((8 - bits) * np.arange(bytes_in_group(bits), dtype=np.float32))
        last = self.node("MatMul", self.constant(places[None].astype(np.float32)), high)
        numbers = self.reshape(self.node("Concat", low, last, axis=0), (-1,))
        middle = self.constant(np.array(2.0 ** (bits - 1), np.float32))
        pieces = self.split(self.node("Sub", numbers, middle), sizes)
        return {name: pieces[name] for name in codes}

    def before(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the model with these nodes in place of the initializers that they make."""
        result = onnx.ModelProto()
        result.CopyFrom(model)
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in self.made]
        del result.graph.initializer[:], result.graph.node[:]
        result.graph.initializer.extend([*kept, *self._constants.values()])
        result.graph.node.extend([*self._nodes, *model.graph.node])
        return result
