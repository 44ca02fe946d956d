"""Matrices move alike in all directions, the rest as AdamW moves it; a reloaded optimizer goes on as if never saved."""

import copy

import pytest
import torch
from conftest import TINY
from torch import nn

from truenet.matrix_optimizer import MatrixOptimizer
from truenet.streaming import StreamingTRUNet


def stepped(net: nn.Module, optimizer: MatrixOptimizer, seed: int) -> dict[str, torch.Tensor]:
    """The parameters' change in one step with random gradients."""
    generator = torch.Generator().manual_seed(seed)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in net.named_parameters()}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_of_a_matrix_has_nearly_equal_singular_values(layout: torch.memory_format) -> None:
    net = nn.Conv2d(24, 16, (1, 3)).to(memory_format=layout)  # type: ignore[call-overload]
    step = stepped(net, MatrixOptimizer(net.parameters(), 0.1, 0.0), 0)["weight"]
    values = torch.linalg.svdvals(step.flatten(1))
    assert (
        values.max() < 1.8 * values.min()
    )  # a random gradient's: 2.5 times; Newton-Schulz stops early
    assert step.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.2)  # 0.2 of the rate


def test_each_gate_of_a_gru_is_a_matrix_of_its_own() -> None:
    net = nn.GRU(20, 12)
    optimizer = MatrixOptimizer(net.parameters(), 0.1, 0.0)
    steps = stepped(net, optimizer, 0)
    alone = nn.GRU(20, 12)
    alone.load_state_dict(net.state_dict())
    generator = torch.Generator().manual_seed(0)
    for parameter in alone.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[12:] *= 100  # of the other gates
    before = alone.weight_ih_l0.detach().clone()
    MatrixOptimizer(alone.parameters(), 0.1, 0.0).step()
    torch.testing.assert_close((alone.weight_ih_l0 - before)[:12], steps["weight_ih_l0"][:12])


def test_what_is_no_matrix_moves_as_with_adamw() -> None:
    net = StreamingTRUNet(TINY)
    twin = copy.deepcopy(net)
    ours = stepped(net, MatrixOptimizer(net.parameters(), 0.01, 0.1), 1)
    theirs = stepped(twin, torch.optim.AdamW(twin.parameters(), 0.01, weight_decay=0.1), 1)  # type: ignore[arg-type]
    same = {name for name, step in ours.items() if torch.equal(step, theirs[name])}
    vectors = {name for name, parameter in net.named_parameters() if parameter.ndim < 2}
    depthwise = {name for name in ours if "depthwise.weight" in name}
    assert vectors | depthwise <= same
    assert {"network.time_gru.gru.weight_hh_l0", "network.encoder.1.pointwise.weight"}.isdisjoint(
        same
    )


def test_reloaded_it_goes_on() -> None:
    net = StreamingTRUNet(TINY)
    optimizer = MatrixOptimizer(net.parameters(), 0.01, 0.1)
    stepped(net, optimizer, 1)
    twin = copy.deepcopy(net)
    reloaded = MatrixOptimizer(twin.parameters(), 0.5, 0.1)
    reloaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in (*reloaded.param_groups, *optimizer.param_groups):
        group["lr"] = 0.003
    steps, others = stepped(net, optimizer, 2), stepped(twin, reloaded, 2)
    for name, step in steps.items():
        assert torch.equal(step, others[name]), name
