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
        backward(model)
        backward(other)
        optimizer.step()
    twin = copy.deepcopy(model)
    backward(twin)
    torch.optim.SGD(twin.parameters(), 0.1).step()


def test_a_model_that_is_gone_is_not_watched() -> None:
    model = net()
    early = torch.optim.SGD(model.parameters(), 0.1)
    wrap(model, [Rule("*", r=2)])
    del model
    early.step()
