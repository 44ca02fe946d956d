"""Rounded in the forward pass as the small file is, trained as if not, stored as whole numbers."""

from pathlib import Path

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file
from torch import Tensor

from truenet.grids import (
    GRIDS,
    Grids,
    SignalGrid,
    WeightGrid,
    attach,
    plain_state,
    remove_batch_norms,
)
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights

SIGNAL = SignalGrid(0.25, 10)
FIRST = "network.first.weight"
RECURRENT = "network.frequency_gru.gru.weight_ih_l0_reverse"


def grid_of(weight: Tensor, bits: int) -> WeightGrid:
    scales = (weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True) / 100).half()
    return WeightGrid(bits, scales.float())


@pytest.fixture
def model() -> StreamingTRUNet:
    torch.manual_seed(0)
    return StreamingTRUNet(TINY).eval()


@pytest.fixture
def grids(model: StreamingTRUNet) -> Grids:
    weights = {n: grid_of(model.get_parameter(n).detach(), 8) for n in (FIRST, RECURRENT)}
    return Grids(weights, {"network.first": (SignalGrid(0.5, 128), SIGNAL)})


@pytest.mark.parametrize("bits", [4, 6, 7, 8])
def test_half_a_step_decides(bits: int) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    grid = WeightGrid(bits, torch.full((4, 1), 0.125))
    codes = grid.codes(weight)
    assert codes.abs().max() <= 2 ** (bits - 1) - 1
    assert torch.equal(grid.codes(grid.values(codes)), codes)
    assert torch.equal(grid.codes(grid.values(codes) + 0.06), codes)
    inside = codes < 2 ** (bits - 1) - 1
    assert torch.equal(grid.codes(grid.values(codes) + 0.065)[inside], (codes + 1)[inside])


def test_signals_are_rounded_clipped_and_pass_their_gradient_inside() -> None:
    x = torch.tensor([-9.0, -0.3, 0.0, 0.37, 100.0], requires_grad=True)
    y = SIGNAL.rounded(x)
    assert y.tolist() == [-2.5, -0.25, 0.0, 0.25, 61.25]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_grids_come_back_from_their_text(grids: Grids) -> None:
    found = Grids.from_text(grids.to_text())
    assert found.signals == grids.signals
    for name, grid in grids.weights.items():
        assert found.weights[name].bits == grid.bits
        assert torch.equal(found.weights[name].scales, grid.scales)


def test_what_is_attached_rounds_and_is_trained(model: StreamingTRUNet, grids: Grids) -> None:
    before = plain_state(model)
    attach(model, grids)
    rounded = plain_state(model)
    assert before.keys() == rounded.keys()
    for name, tensor in before.items():
        grid = grids.weights.get(name)
        expected = tensor if grid is None else grid.values(grid.codes(tensor))
        assert torch.equal(rounded[name], expected)
    audio = 0.1 * torch.randn(1, 1280, generator=torch.Generator().manual_seed(0))
    enhanced, _ = model(audio, model.initial_state(1), torch.tensor([[1.0, 0, 0]]))
    enhanced.square().mean().backward()
    gradients = [p.grad for n, p in model.named_parameters() if n.endswith(".original")]
    assert len(gradients) == 2
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


def test_weights_with_grids_are_stored_as_whole_numbers(
    model: StreamingTRUNet, grids: Grids, tmp_path: Path
) -> None:
    remove_batch_norms(model)
    path, again = tmp_path / "w.safetensors", tmp_path / "again.safetensors"
    save_weights(model, path, {GRIDS: grids.to_text()})
    stored = load_file(path)
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.int8} == {
        FIRST,
        RECURRENT,
    }
    loaded, facts = load_weights(path)
    grid = grids.weights[FIRST]
    rounded = grid.values(grid.codes(model.get_parameter(FIRST).detach()))
    assert torch.equal(loaded.get_parameter(FIRST), rounded)
    with torch.no_grad():  # a change of less than half a step vanishes
        loaded.get_parameter(FIRST).add_(0.4 * grid.scales)
    save_weights(loaded, again, facts)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in load_file(again).items())
