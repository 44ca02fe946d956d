"""Scores are the norms of autograd's gradient columns; shared inputs are found."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from partialgrad import Rule, Scores, gradient_scores, shared_inputs, wrap
from partialgrad.layers import all_columns


class Net(nn.Module):
    """A layer of each kind that can be scored."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8, padding_idx=0)
        self.conv = nn.Conv1d(8, 6, 3, groups=2)
        self.transposed = nn.ConvTranspose1d(6, 70, 3)
        self.q, self.k = nn.Linear(70, 3), nn.Linear(70, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.relu(self.transposed(self.conv(self.table(ids).transpose(1, 2)))).transpose(1, 2)
        return self.q(x) * self.k(x)


def batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        yield torch.randint(0, 9, (2, 5), generator=generator)


def test_scores() -> None:
    torch.manual_seed(0)
    net = Net().double()
    squares: dict[str, Tensor] = {}
    for ids in batches():
        net.zero_grad()
        net(ids).square().sum().backward()
        for name, parameter in net.named_parameters():
            if name.endswith("weight"):
                assert parameter.grad is not None
                squares[name] = squares.get(name, torch.zeros(())) + parameter.grad.square()
    net.zero_grad()
    scores = gradient_scores(net, [Rule("*", r=2)], (net(x).square().sum() for x in batches()))
    want = {
        name: squares[name].sum([d for d in range(squares[name].dim()) if d != dim])
        for name, dim in {"table.weight": 0, "conv.weight": 1, "q.weight": 1, "k.weight": 1}.items()
    }
    want["transposed.weight"] = squares["transposed.weight"].sum((1, 2))
    assert scores.keys() == want.keys()
    for name, square in want.items():
        torch.testing.assert_close(scores[name].square(), square)
    assert [type(module) for module in net.modules()] == [
        type(module) for module in Net().modules()
    ]
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    wrap(net, [Rule("*", r=2, select=Scores(scores))], share=[["q", "k"]])
    chosen = {name: columns for name, _, columns in all_columns(net)}
    assert (
        chosen["conv.weight"].indices.tolist()
        == want["conv.weight"].topk(2).indices.sort().values.tolist()
    )
    both = want["q.weight"] + want["k.weight"]
    assert set(chosen["q.weight"].indices.tolist()) == set(both.topk(2).indices.tolist())


def test_scores_that_cannot_be() -> None:
    net = Net()
    with pytest.raises(ValueError, match="no losses"):
        gradient_scores(net, [Rule("*", r=2)], [])
    with pytest.raises(ValueError, match="recurrent"):
        gradient_scores(nn.Sequential(nn.GRU(4, 4)), [Rule("*", r=2)], [])
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="before wrap"):
        gradient_scores(net, [Rule("*", r=2)], [])


def test_shared_inputs() -> None:
    net = Net()
    rules, ids = [Rule("*", r=2)], next(batches())
    groups = shared_inputs(net, rules, lambda: net(ids))
    assert groups == [["q", "k"]]
    wrap(net, rules, share=groups)
    net(ids).sum().backward()
