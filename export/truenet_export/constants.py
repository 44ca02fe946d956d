"""Operations on constants in front of a graph, which onnxruntime computes once when it loads the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from truenet_export.builder import GraphBuilder
from truenet_export.weights_int import Codes, Floats, bytes_in_group, pack


class ConstantNodes(GraphBuilder):
    """Nodes that make the initializers of a graph from smaller ones; `made` are the names of their results."""

    def __init__(self) -> None:
        super().__init__(prefix="c")
        self.made: set[str] = set()

    def node(
        self, operator: str, *inputs: str, outputs: int | tuple[str, ...] = 1, **attributes: Any
    ) -> Any:
        """Add a node; outputs that are named are initializers of the graph."""
        names = super().node(operator, *inputs, outputs=outputs, **attributes)
        self.made.update([names] if isinstance(names, str) else names)
        return names

    def as_float(self, name: str, outputs: int | tuple[str, ...] = 1) -> str:
        """A Cast to float32."""
        return str(self.node("Cast", name, outputs=outputs, to=TensorProto.FLOAT))

    def split(self, name: str, sizes: Mapping[str, int]) -> dict[str, str]:
        """Cut along the first axis; names of the pieces by the keys of `sizes`."""
        pieces = self.node("Split", name, self.integers(*sizes.values()), outputs=len(sizes))
        return dict(zip(sizes, [pieces] if len(sizes) == 1 else pieces, strict=True))

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
        numbers = self.reshape(self.node("Concat", low, last, axis=0), -1)
        middle = self.constant(np.array(2.0 ** (bits - 1), np.float32))
        pieces = self.split(self.node("Sub", numbers, middle), sizes)
        return {name: pieces[name] for name in codes}

    def before(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the model with these nodes in place of the initializers that they make."""
        result = onnx.ModelProto()
        result.CopyFrom(model)
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in self.made]
        del result.graph.initializer[:], result.graph.node[:]
        result.graph.initializer.extend([*kept, *self.initializers.values()])
        result.graph.node.extend([*self.nodes, *model.graph.node])
        return result
