"""A wrapped model keeps its state dict, copies and merges, and can be put back to the bit."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partialgrad import (
    Rule,
    disable,
    enable,
    freeze_ops,
    load_adapter,
    merge,
    save_adapter,
    unwrap,
    wrap,
)
from partialgrad.layers import all_columns, partial_layers


def ids() -> Tensor:
    return torch.randint(0, 9, (3, 5))


def sequence(width: int = 4) -> Tensor:
    return torch.randn(3, 5, width, dtype=torch.float64)


class Net(nn.Module):
    """A bit of everything, with a tensor that two layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(6)
        self.gru = nn.GRU(6, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.embed(ids))
        x = x + torch.tanh(self.q(x)) * self.k(x)
        x = F.relu(self.batch_norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)
        y, _ = self.gru(x)
        return self.head(y)


RULES = [
    Rule("head", train="all"),
    Rule("batch_norm", train="all"),
    Rule("*", fraction=0.4, bias=True, types=(nn.Linear, nn.Conv1d, nn.GRU, nn.Embedding)),
]


def trained_net() -> tuple[Net, Net]:
    """A net after a step of some optimizer on its columns, and the net as it was."""
    torch.manual_seed(0)
    net = Net().double()
    before = copy.deepcopy(net)
    wrap(net, RULES)
    train(net)
    return net, before


def train(net: nn.Module, **options: Any) -> None:
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 0.01, **options)
    for _ in range(2):
        net(ids()).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_state_dict_keeps_its_keys_and_shapes_and_holds_the_trained_weights() -> None:
    net, before = trained_net()
    state = net.state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in before.state_dict().items()
    }
    plain = Net().double()
    plain.load_state_dict(state)
    x = ids()
    torch.testing.assert_close(plain(x), net(x))
    assert not torch.equal(state["conv.weight"], before.conv.weight)


def test_loading_a_state_dict_into_a_wrapped_model() -> None:
    net, before = trained_net()
    state = net.state_dict()
    x, other = ids(), copy.deepcopy(before)
    wrap(other, RULES)
    other.load_state_dict(state)
    net.eval(), other.eval()
    assert torch.equal(other(x), net(x))
    train(other)
    unwrap(other)
    assert_equal(other, before)


def test_loading_a_state_dict_that_lacks_a_weight_loses_nothing() -> None:
    """Neither the last step nor what is finer than the weight's precision."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).bfloat16()
    wrap(net, [Rule("*", r=2)])
    for _, _, columns in all_columns(net):
        nn.init.normal_(columns.delta, std=1e-3)
    deltas = [columns.delta.clone() for _, _, columns in all_columns(net)]
    net.load_state_dict({}, strict=False)
    net.load_state_dict({name: value.clone() for name, value in net.state_dict().items()})
    for before, (_, _, columns) in zip(deltas, all_columns(net), strict=True):
        assert torch.equal(columns.delta, before)


def test_loading_trained_weights_while_disabled_is_refused() -> None:
    net, before = trained_net()
    trained = copy.deepcopy(net.state_dict())
    disable(net)
    net.load_state_dict(before.state_dict())
    with pytest.raises(RuntimeError, match=r"q\.weight: the adapter is disabled: call enable"):
        net.load_state_dict(trained)


def said_by(call: Callable[[], object]) -> list[str]:
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def test_a_state_dict_warns_of_columns_that_it_cannot_hold() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    wrap(net, [Rule("*", r=2, side=True)])
    assert said_by(net.state_dict) == []
    nn.init.ones_(net[0].partial["weight"].delta)
    with pytest.warns(UserWarning, match=r"0\.weight .*use save_adapter"):
        net.state_dict()
    disable(net)
    assert said_by(net.state_dict) == []


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_model_keeps_fine_differences(kind: torch.dtype) -> None:
    net = nn.Linear(4, 3)
    wrap(net, [Rule("*", r=2, bias=True)])
    for _, _, columns in all_columns(net):
        nn.init.normal_(columns.delta)
    deltas = [columns.delta.clone() for _, _, columns in all_columns(net)]
    net.to(kind)
    for before, (name, weight, columns) in zip(deltas, all_columns(net), strict=True):
        assert columns.delta.dtype == torch.promote_types(kind, torch.float32), name
        assert torch.equal(columns.delta.float(), before)
        assert columns.original is not None
        assert weight.dtype == columns.original.dtype == kind
    net(torch.ones(2, 4, dtype=kind)).sum().backward()


def assert_equal(net: nn.Module, other: nn.Module) -> None:
    state, expected = net.state_dict(), other.state_dict()
    assert list(state) == list(expected)
    for name in state:
        assert torch.equal(state[name], expected[name]), name


def test_unwrap_restores_to_the_bit() -> None:
    net, before = trained_net()
    flags = {name: parameter.requires_grad for name, parameter in before.named_parameters()}
    unwrap(net)
    assert_equal(net, before)
    assert {name: parameter.requires_grad for name, parameter in net.named_parameters()} == flags
    assert [type(module) for module in net.modules()] == [type(m) for m in before.modules()]
    train(net)


def test_disable_and_enable() -> None:
    net, before = trained_net()
    trained, x = copy.deepcopy(net.state_dict()), ids()
    disable(net)
    disable(net)
    assert_equal(net, before)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), before.eval()(x), rtol=0, atol=1e-14)
    enable(net)
    enable(net)
    for name, value in net.state_dict().items():
        assert torch.equal(value, trained[name])


def test_merge_equals_evaluation() -> None:
    net, _ = trained_net()
    x = ids()
    expected = net.eval()(x)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
    merge(net)
    assert not list(partial_layers(net))
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-12)


def test_merging_a_side_branch() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    wrap(net, [Rule("*", r=2, side=True)])
    for _, _, columns in all_columns(net):
        nn.init.normal_(columns.delta)
    x = sequence()
    expected = net(x)
    with torch.no_grad():
        assert torch.equal(net(x), expected)
    merge(net)
    torch.testing.assert_close(net(x), expected)


def test_tied_weights_take_the_side_branch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    net[1].weight = net[0].weight
    base = copy.deepcopy(net)
    made = wrap(net, [Rule("*", r=2)])
    assert all("side branch" in row.detail for row in made.rows)
    before = net[0].weight.clone()
    train(net)
    assert torch.equal(net[0].weight, before)
    save_adapter(net, tmp_path / "adapter")
    load_adapter(base, tmp_path / "adapter")
    ids = torch.arange(9)
    torch.testing.assert_close(base(ids), net(ids))
    with pytest.raises(ValueError, match="tied"):
        merge(net)
    unwrap(net)


def copies() -> list[Callable[[nn.Module], nn.Module]]:
    def saved(net: nn.Module) -> nn.Module:
        file = io.BytesIO()
        torch.save(net, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        assert isinstance(loaded, nn.Module)
        return loaded

    return [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), saved]


@pytest.mark.parametrize("duplicate", copies(), ids=["deepcopy", "pickle", "torch.save"])
def test_copies_are_wrapped_and_independent(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    net, before = trained_net()
    freeze_ops(net)
    twin = duplicate(net)
    state = copy.deepcopy(net.state_dict())
    assert_equal(twin, net)
    train(twin)
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])
    assert not torch.equal(twin.state_dict()["q.weight"], state["q.weight"])
    unwrap(twin)
    assert_equal(twin, before)


def test_parts_of_attention_trained_in_full_leave_its_children_frozen() -> None:
    net = nn.MultiheadAttention(4, 2)
    wrap(net, [Rule("", train="all")])
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert trained == ["in_proj_weight", "in_proj_bias"]


def test_wrapping_twice_and_unwrapping_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="call wrap"):
        unwrap(net)
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="wrapped already"):
        wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="wrapped already"):
        wrap(net[0], [Rule("*", r=2)])


def test_wrapping_a_model_that_ranks_share_already() -> None:
    parallel = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(parallel)
    parallel.module = nn.Linear(4, 3)
    with pytest.raises(ValueError, match="wrap the model first, then make"):
        wrap(parallel, [Rule("*", r=2)])
