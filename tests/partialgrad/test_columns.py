"""Columns are in their weights whenever somebody looks, whatever the optimizer and the precision."""

from typing import Any

import pytest
import torch
from torch import nn

from partialgrad import Rule, wrap
from partialgrad.layers import all_columns

OPTIMIZERS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "foreach": True}),
    (torch.optim.AdamW, {"foreach": True}),
    (torch.optim.AdamW, {"fused": True}),
    (torch.optim.Adagrad, {}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_no_stale_weights_with_any_optimizer(
    kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    wrap(net, [Rule("*", r=2, bias=True)])
    optimizer = kind([p for p in net.parameters() if p.requires_grad], lr=0.1, **options)  # type: ignore[call-arg]
    for _ in range(3):
        net(torch.randn(5, 4)).square().sum().backward()
        net(torch.randn(1, 4))
        optimizer.step()
        optimizer.zero_grad()
        net(torch.randn(1, 4))
        for name, weight, columns in all_columns(net):
            live = weight.index_select(columns.dim, columns.indices)
            assert torch.equal(live, columns.values()), name


def test_a_gradient_alone_does_not_disturb_another_backward_pass() -> None:
    net = nn.Linear(4, 3)
    wrap(net, [Rule("*", r=2)])
    x = torch.randn(2, 4, requires_grad=True)
    first, second = net(x), net(x)
    first.sum().backward()
    once = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net(x)
    second.sum().backward()
    assert once
    for name, parameter in net.named_parameters():
        if name in once:
            torch.testing.assert_close(parameter.grad, 2 * once[name])


def test_a_step_within_a_graph_is_noticed() -> None:
    net = nn.Linear(4, 3)
    wrap(net, [Rule("*", r=2)])
    x = torch.randn(2, 4, requires_grad=True)
    first, second = net(x), net(x)
    first.sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1).step()
    net(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        second.sum().backward()


def test_low_precision_weights_have_a_32_bit_master_copy() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 3).bfloat16()
    wrap(net, [Rule("*", r=2)])
    ((_, weight, columns),) = all_columns(net)
    step = 1e-4 * columns.values()
    for _ in range(200):  # each is far below bfloat16's resolution
        with torch.no_grad():
            columns.delta.add_(step)
        net(torch.randn(1, 4).bfloat16())
    assert columns.original is not None
    grown = weight.index_select(1, columns.indices).float() / columns.original.float()
    assert ((grown - 1.02).abs() < 0.006).all()
