"""An optimizer that would train nothing says so at its first step; others are left alone."""

import copy

import pytest
import torch
from torch import nn

from partialgrad import PartialAdamW, Rule, unwrap, wrap


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


def backward(model: nn.Module) -> None:
    model(torch.randn(5, 4)).square().sum().backward()


def moves(optimizer: torch.optim.Optimizer, *models: nn.Module) -> bool:
    """Whether a step changes what comes out of one of the models."""
    x = torch.ones(1, 4)
    before = [model(x).detach() for model in models]
    for model in models:
        backward(model)
    optimizer.step()
    after = [model(x).detach() for model in models]
    return any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_any_optimizer_from_before_wrap() -> None:
    model = net()
    early = torch.optim.SGD(model.parameters(), 0.1)
    wrap(model, [Rule("0", r=2), Rule("1", train="all")])
    backward(model)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"built before wrap: it holds 0\.weight.*Build it after"
        ):
            early.step()
    unwrap(model)
    backward(model)
    early.step()


def test_optimizers_of_other_models_and_of_parts() -> None:
    model, other = net(), net()
    outer = torch.optim.SGD(other.parameters(), 0.1)
    wrap(model, [Rule("*", r=2, bias=True)])
    late = [torch.optim.AdamW(part.parameters(), 0.1) for part in model]
    everything = torch.optim.SGD(model.parameters(), 0.1)
    for optimizer in (outer, *late, everything, PartialAdamW(model)):
        assert moves(optimizer, model, other)
    twin = copy.deepcopy(model)
    assert moves(torch.optim.SGD(twin.parameters(), 0.1), twin)


def test_a_model_that_is_gone_is_not_watched() -> None:
    model = net()
    early = torch.optim.SGD(model.parameters(), 0.1)
    weights = list(model.parameters())
    before = [weight.detach().clone() for weight in weights]
    wrap(model, [Rule("*", r=2)])
    del model
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    early.step()
    for weight, old in zip(weights, before, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.1)
