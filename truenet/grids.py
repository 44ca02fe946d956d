"""Weights and signals on the whole-number grids of the small model file, as fake-quantization modules.

`truenet export --int8` decides the grids once and stores them in the metadata of a weights file ("grids"). There
they stay fixed: such weights are kept as their whole numbers, a model that is trained further with `attach` rounds in
its forward pass (the gradient passes as if nothing were rounded, arXiv 1308.3432), and an export needs no calibration.
"""

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

GRIDS = "grids"  # entry of a weights file's metadata
_LARGEST = 255  # signals have 8 unsigned bits


@dataclasses.dataclass(frozen=True)
class WeightGrid:
    """Steps of a weight, symmetric about zero: scales of a shape that broadcasts to the weight, exact in float16."""

    bits: int
    scales: Tensor

    def codes(self, weight: Tensor) -> Tensor:
        """The whole numbers nearest to a weight, as int8."""
        top = 2 ** (self.bits - 1) - 1
        return (weight / self.scales.to(weight)).round().clamp(-top, top).to(torch.int8)

    def values(self, codes: Tensor) -> Tensor:
        """The weight of whole numbers, in float32."""
        return codes * self.scales.to(codes.device)


@dataclasses.dataclass(frozen=True)
class SignalGrid:
    """Steps of a signal: values are (whole number − zero) · scale, whole numbers 0 to 255."""

    scale: float
    zero: int

    def rounded(self, x: Tensor) -> Tensor:
        """The signal that whole-number layers see; outside of the grid nothing is passed back."""
        low, high = -self.zero * self.scale, (_LARGEST - self.zero) * self.scale
        rounded: Tensor = _Rounded.apply(x, self.scale, low, high)  # type: ignore[no-untyped-call]
        return rounded


@dataclasses.dataclass(frozen=True)
class Grids:
    """Of weights by the name of the parameter; of the input and output of whole-number convolutions by layer."""

    weights: Mapping[str, WeightGrid]
    signals: Mapping[str, tuple[SignalGrid, SignalGrid]]

    def to_text(self) -> str:
        """For the metadata of a weights file."""
        weights = {
            name: [grid.bits, [*grid.scales.shape], _packed(grid.scales)]
            for name, grid in self.weights.items()
        }
        signals = {
            name: [dataclasses.astuple(grid) for grid in pair]
            for name, pair in self.signals.items()
        }
        return json.dumps({"weights": weights, "signals": signals})

    @classmethod
    def from_text(cls, text: str) -> "Grids":
        """What `to_text` wrote."""
        stored = json.loads(text)
        weights = {
            name: WeightGrid(bits, _unpacked(packed).reshape(shape))
            for name, (bits, shape, packed) in stored["weights"].items()
        }
        signals = {
            name: (SignalGrid(*first), SignalGrid(*second))
            for name, (first, second) in stored["signals"].items()
        }
        return cls(weights, signals)


class RoundedWeight(nn.Module):
    """A parametrization: the float weight that is trained to the rounded one that is used."""

    def __init__(self, grid: WeightGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, weight: Tensor) -> Tensor:
        """The nearest weight on the grid."""
        return _straight_through(weight, self.grid.values(self.grid.codes(weight)).to(weight))


def attach(model: nn.Module, grids: Grids) -> None:
    """Round weights and signals of a model in every forward pass, so that training sees what the small file does.

    Args:
        model: changed in place; weights of whole numbers have no batch norms left (see `remove_batch_norms`).
    """
    for name, grid in grids.weights.items():
        layer, _, parameter = name.rpartition(".")
        parametrize.register_parametrization(
            model.get_submodule(layer), parameter, RoundedWeight(grid)
        )
    round_signals(model, grids)


def round_signals(model: nn.Module, grids: Grids) -> None:
    """Round the signals alone, in every forward pass."""
    for name, (before, after) in grids.signals.items():
        _round_signals(model.get_submodule(name), before, after)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without parametrizations: weights as the forward pass uses them, under their own names."""
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if ".parametrizations." not in name
    }
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer):
            for parameter in layer.parametrizations:
                state[f"{name}.{parameter}"] = getattr(layer, parameter)
    return {name: tensor.detach() for name, tensor in state.items()}


def remove_batch_norms(model: nn.Module) -> None:
    """Put nothing in the place of batch norms that are folded into the layers before them."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())


class _Rounded(torch.autograd.Function):
    """Keeps a boolean for each number; autograd's own way through clamping and rounding keeps the signal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x >= low).logical_and_(x <= high))
        return x.clamp(low, high).div_(scale).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return dy * inside, None, None, None


def _round_signals(layer: nn.Module, before: SignalGrid, after: SignalGrid) -> None:
    def round_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (before.rounded(inputs[0]), *inputs[1:])

    def round_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return after.rounded(output)

    layer.register_forward_pre_hook(round_input)
    layer.register_forward_hook(round_output)


def _straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    return rounded.detach() + (x - x.detach())


def _packed(scales: Tensor) -> str:
    return base64.b64encode(scales.numpy().astype("<f2").tobytes()).decode()


def _unpacked(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32))
