"""Where the graph's weights, and the rows that have a scale each, come from in PyTorch.

The graph stacks directions and gates of GRUs, cuts transposed convolutions into phases, and mixes the logits of the
last layer (`network_graph.py`); scales of its rows are scales of PyTorch's weights all the same.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from truenet.mask import CHANNELS_PER_MASK
from truenet.network import FrequencyConv, FrequencyTransposedConv
from truenet.streaming import StreamingTRUNet
from truenet_export.weights_int import Floats

_LAST_ROWS = (0, 0, 1, 2, 2)  # of `network_graph._last_layer`, by logit of a mask
_LAST_SIGNS = (1.0, -1.0, 1.0, 1.0, -1.0)


@dataclasses.dataclass(frozen=True)
class Place:
    """A parameter with the rows of a graph's weight: its scales are `factors` · the rows' scales at `rows`.

    Both have a shape that broadcasts to the parameter.
    """

    parameter: str
    rows: NDArray[np.int64]
    factors: Floats

    def scales(self, by_row: Floats) -> Tensor:
        """The parameter's scales of those of the rows."""
        return torch.from_numpy(by_row[self.rows] * self.factors)

    def put_rows(self, scales: Tensor, by_row: Floats) -> None:
        """The reverse of `scales`."""
        by_row[self.rows] = scales.numpy() / self.factors


def places(model: StreamingTRUNet) -> Iterator[tuple[str, list[Place]]]:
    """The layer (its name in the model) and the places of every weight of the graph, in the graph's order."""
    last = model.network.decoder[-1].transposed
    for name, layer in model.named_modules():
        if isinstance(layer, nn.GRU):
            for kind in ("ih", "hh"):
                yield name, [*_recurrent(name, layer, kind)]
        elif isinstance(layer, FrequencyTransposedConv):
            yield name, [_transposed(name, layer, mixed=layer is last)]
        elif isinstance(layer, FrequencyConv):
            first = layer is model.network.first
            yield name, [_convolution(name, layer, model.features.names if first else ())]


@torch.no_grad()
def antisymmetric_(model: StreamingTRUNet) -> None:
    """Give the last layer the form that the graph knows: of logits that count by their difference, half each."""
    layer = model.network.decoder[-1].transposed
    assert isinstance(layer, FrequencyTransposedConv)
    assert layer.bias is not None
    for values in (layer.weight.transpose(0, 1), layer.bias):
        for logits in values.unflatten(0, (-1, CHANNELS_PER_MASK)):
            for one, other in ((0, 1), (3, 4)):
                half = (logits[one].double() / 2 - logits[other].double() / 2).float()
                logits[one], logits[other] = half, -half


def _place(name: str, rows: NDArray[np.int64], factors: Floats | float = 1.0) -> Place:
    shape = np.broadcast_shapes(rows.shape, np.shape(factors))
    return Place(
        name, np.broadcast_to(rows, shape), np.broadcast_to(factors, shape).astype(np.float32)
    )


def _recurrent(name: str, layer: nn.GRU, kind: str) -> Iterator[Place]:
    """PyTorch's gates are reset, update, new; ONNX's update, reset, new."""
    units = layer.hidden_size
    for direction, end in enumerate(("", "_reverse")[: 1 + layer.bidirectional]):
        gates = np.array([units, 0, 2 * units])[:, None] + np.arange(units)
        yield _place(f"{name}.weight_{kind}_l0{end}", 3 * units * direction + gates.reshape(-1, 1))


def _convolution(name: str, layer: FrequencyConv, features: tuple[str, ...]) -> Place:
    """The graph's first convolution has the half of the logarithm of a power in it."""
    rows = np.arange(layer.out_channels).reshape(-1, 1, 1, 1)
    if "log_magnitude" not in features:
        return _place(f"{name}.weight", rows)
    factors = np.ones((1, layer.in_channels, 1, 1), np.float32)
    factors[0, 0] = 2
    return _place(f"{name}.weight", rows, factors)


def _transposed(name: str, layer: FrequencyTransposedConv, mixed: bool) -> Place:
    """Taps of every phase have rows of their own; where logits are mixed (see `antisymmetric_`) scales have signs."""
    rows = np.arange(layer.out_channels)
    signs: Floats = np.ones(layer.out_channels, np.float32)
    if mixed:
        masks = layer.out_channels // CHANNELS_PER_MASK
        rows = (masks * np.array(_LAST_ROWS) + np.arange(masks)[:, None]).flatten()
        signs = np.tile(np.array(_LAST_SIGNS, np.float32), masks)
    taps = np.arange(layer.kernel_size[1])
    phases = (taps - layer.kernel_size[1] // 2) % layer.stride[1]
    rows = (rows.max() + 1) * phases + rows[:, None, None]
    return _place(f"{name}.weight", rows[None], signs[:, None, None])
