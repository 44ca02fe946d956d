"""The features' recursion as an ONNX operator.

m[t] = (1 − s) m[t−1] + s e[t] is an RNN cell with ReLU, one unit and no bias, since nothing in it is
negative. The bins are its batch, so that one node serves all of them at any number of frames.
"""

from collections.abc import Callable
from typing import Any

import onnxscript
import torch
from onnxscript import FLOAT
from torch import Tensor

from truenet.features import smooth

op: Any = onnxscript.opset18


@torch.library.custom_op("truenet::smooth", mutates_args=())
def smooth_operator(values: Tensor, coefficient: Tensor, previous: Tensor) -> Tensor:
    """`truenet.features.smooth` as an operator that the exporter keeps whole."""
    return smooth(values, coefficient, previous)


@smooth_operator.register_fake
def _(values: Tensor, coefficient: Tensor, previous: Tensor) -> Tensor:
    return torch.empty_like(values)


def _smooth_as_rnn(values: FLOAT, coefficient: FLOAT, previous: FLOAT) -> FLOAT:
    shape = op.Shape(op.Transpose(values, perm=[1, 0, 2]))
    rows = op.Reshape(
        op.Transpose(values, perm=[1, 0, 2]),
        op.Concat(op.Shape(values, start=1, end=2), [-1, 1], axis=0),
    )  # (frames, batch · bins, 1)
    weight = op.Reshape(coefficient, [1, 1, 1])
    keep = op.Sub(1.0, weight)
    start = op.Reshape(previous, [1, -1, 1])
    outputs, _ = op.RNN(rows, weight, keep, None, None, start, activations=["Relu"], hidden_size=1)
    return op.Transpose(op.Reshape(outputs, shape), perm=[1, 0, 2])


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export` needs to know of our operators."""
    return {torch.ops.truenet.smooth.default: onnxscript.script(op)(_smooth_as_rnn)}
