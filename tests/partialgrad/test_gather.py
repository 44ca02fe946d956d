"""Layers that read the same tensor keep it once."""

import copy

import pytest
import torch
from torch import Tensor, nn

from partialgrad import Rule, saved_bytes, wrap


def test_sharing_keeps_one_tensor() -> None:
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.q(x) + self.k(x) + self.v(x)

    apart, x = Attention(), torch.randn(10, 64)
    together = copy.deepcopy(apart)
    wrap(apart, [Rule("*", r=8)])
    wrap(together, [Rule("*", r=8)], share=[["q", "k", "v"]])
    assert saved_bytes(lambda: apart(x), apart) == 3 * 10 * 8 * 4
    assert saved_bytes(lambda: together(x), together) == 10 * 8 * 4
    assert torch.equal(together.q.partial["weight"].indices, together.v.partial["weight"].indices)
    together(x).square().sum().backward()
    full = Attention()
    full.load_state_dict(together.state_dict())
    full(x).square().sum().backward()
    columns = together.k.partial["weight"]
    assert full.k.weight.grad is not None
    torch.testing.assert_close(columns.delta.grad, full.k.weight.grad[:, columns.indices])


def test_sharing_different_layers_is_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="cannot share"):
        wrap(net, [Rule("*", r=2)], share=[["0", "1"]])
