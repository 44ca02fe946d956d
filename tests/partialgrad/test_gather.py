"""Layers that read the same tensor keep it once."""

import copy

import pytest
import torch
from torch import Tensor, nn

from partialgrad import Rule, saved_bytes, wrap
from partialgrad.gather import Gather


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


def test_a_buffer_that_was_filled_anew_behind_autograds_back() -> None:
    x, channels = torch.randn(3, 4), (torch.tensor([0, 2]), torch.tensor([0, 2]))
    gather = Gather(shared=True)
    for _ in range(3):
        x.data.normal_()  # counts no version
        first, second = (gather(x, 1, chosen) for chosen in channels)
        assert first is second
        assert torch.equal(first, x[:, [0, 2]])


@pytest.mark.parametrize("shared", [False, True])
def test_a_tensor_of_inference_mode(shared: bool) -> None:
    """It counts no versions at all."""
    with torch.inference_mode():
        x = torch.randn(3, 4)
    chosen = Gather(shared)(x, 1, torch.tensor([1]))
    assert torch.equal(chosen, x[:, [1]])
    layer = nn.Linear(4, 2)
    wrap(layer, [Rule("*", r=1)])
    layer(x).sum().backward()
