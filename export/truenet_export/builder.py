"""A few lines over onnx.helper: nodes are added one by one, constants are shared by value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 18  # STFT and DFT came with 17; 18 is read by every onnxruntime since 1.14
IR_VERSION = 8
Array = np.ndarray[Any, Any]


Shapes = Mapping[str, Sequence[str | int]]


class GraphBuilder:
    """Collects nodes and initializers; names are short and follow the order of creation.

    `shapes` are those of signals, by name, that the file is to state.

    Args:
        prefix: of all names, so that two builders can write into one graph.
    """

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._prefix = prefix
        self.shapes: dict[str, Sequence[str | int]] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._values = 0

    def node(
        self, operator: str, *inputs: str, outputs: int | tuple[str, ...] = 1, **attributes: Any
    ) -> Any:
        """Add a node.

        Args:
            operator: an operator of ONNX's own domain.
            inputs: names; "" leaves one out.
            outputs: how many, or their names.
            attributes: of the operator.

        Returns:
            the output's name, or a list of names for several.
        """
        names = [self._name() for _ in range(outputs)] if isinstance(outputs, int) else [*outputs]
        node = helper.make_node(
            operator, inputs, names, f"{self._prefix}n{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        return names[0] if len(names) == 1 else names

    def constant(self, value: Array) -> str:
        """The name of an initializer with this value: equal ones are one."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = f"{self._prefix}w{len(self._constants)}"
            self._constants[key] = name
            self.initializers[name] = numpy_helper.from_array(value, name)
        return self._constants[key]

    def floats(self, value: Tensor | Array | float | list[float]) -> str:
        """A float32 constant."""
        numbers = value.detach().double().numpy() if isinstance(value, Tensor) else value
        return self.constant(np.asarray(numbers, np.float32))

    def integers(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(np.asarray(values, np.int64))

    def reshape(self, x: str, *shape: int, outputs: int | tuple[str, ...] = 1) -> str:
        """Reshape: 0 keeps a dimension, −1 is what remains."""
        return str(self.node("Reshape", x, self.integers(*shape), outputs=outputs))

    def transpose(self, x: str, *order: int) -> str:
        """Transpose to this order of dimensions."""
        return str(self.node("Transpose", x, perm=order))

    def slice(self, x: str, axis: int, begin: int, end: int | None = None) -> str:
        """x[begin:end] along one dimension."""
        stop = np.iinfo(np.int64).max if end is None else end
        bounds = (self.integers(begin), self.integers(int(stop)), self.integers(axis))
        return str(self.node("Slice", x, *bounds))

    def sizes(self, x: str, axis: int, *around: int | None) -> str:
        """A shape: the numbers given, with the size of a dimension of x in place of None."""
        size = self.node("Shape", x, start=axis, end=axis + 1)
        parts = [size if number is None else self.integers(number) for number in around]
        return str(self.node("Concat", *parts, axis=0))

    def model(self, inputs: Shapes, outputs: Shapes) -> onnx.ModelProto:
        """The model file of all nodes; inputs and outputs are float32, by name, dimensions by size or name."""

        def values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()
            ]

        constants = [*self.initializers.values()]
        graph = helper.make_graph(self.nodes, "truenet", values(inputs), values(outputs), constants)
        graph.value_info.extend(values(self.shapes))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="truenet"
        )

    def _name(self) -> str:
        self._values += 1
        return f"{self._prefix}v{self._values}"
