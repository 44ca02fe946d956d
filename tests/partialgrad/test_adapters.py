"""Adapters: reloaded equals trained, only on the same base, small, and the same in peft's formats."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from partialgrad import Rule, keep_on_grid, merge, unwrap, wrap
from partialgrad.adapters import base_hash, load_adapter, save_adapter
from partialgrad.interchange import save_peft_paca
from partialgrad.layers import all_columns
from partialgrad.wrap import disable

RULES = [
    Rule("last", train="all"),
    Rule("gru", fraction=0.4, bias=True),
    Rule("table", r=2),
    Rule("depthwise", train="bias"),
    Rule("side", r=3, side=True),
    Rule("*", r=2, bias=True),
]


class Net(nn.Module):
    """One of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1, groups=2)
        self.depthwise = nn.Conv1d(6, 6, 3, padding=1, groups=6)
        self.transposed = nn.ConvTranspose1d(6, 4, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(4)
        self.gru = nn.GRU(4, 3, 2, batch_first=True, bidirectional=True)
        self.q, self.k = nn.Linear(6, 5), nn.Linear(6, 5)
        self.side = nn.Linear(5, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.depthwise(self.conv(self.table(ids).transpose(1, 2)))
        x, _ = self.gru(self.norm(self.transposed(x)).transpose(1, 2))
        return self.last(torch.tanh(self.side(self.q(x) * self.k(x))))


def train(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 0.05)
    for _ in range(3):
        net(torch.randint(0, 9, (4, 5), generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def base() -> Net:
    torch.manual_seed(0)
    return Net()


def test_evaluation_equals_reloaded_equals_merged(base: Net, tmp_path: Path) -> None:
    net, other = copy.deepcopy(base), copy.deepcopy(base)
    wrap(net, RULES, share=[["q", "k"]])
    train(net)
    path, x = tmp_path / "adapter.safetensors", torch.arange(9)[None]
    save_adapter(net, path)
    load_adapter(other, path)
    with torch.no_grad():
        expected = net.eval()(x)
        assert torch.equal(other.eval()(x), expected)
        assert other.get_submodule("q").gather is other.get_submodule("k").gather
        merge(other)
        torch.testing.assert_close(other(x), expected)
    train(net.train())  # an adapter goes on where it was
    assert path.stat().st_size < 20_000


def test_compact_is_small_and_off_by_half_a_step_of_each_column(tmp_path: Path) -> None:
    def net() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(64, 64, 3), nn.ConvTranspose1d(64, 64, 3))

    trained, reloaded = net(), net()
    wrap(trained, [Rule("*", r=32, bias=True)])
    with torch.no_grad():
        for parameter in (p for p in trained.parameters() if p.requires_grad):
            parameter.copy_(
                torch.randn_like(parameter)
                * torch.logspace(-3, 0, len(parameter))[(...,) + (None,) * (parameter.dim() - 1)]
            )
        trained[0].partial["weight"].delta[:, 5] = 0  # type: ignore[index, union-attr]
    sizes = []
    for compact in (False, True):
        save_adapter(trained, tmp_path / "a", compact)
        sizes.append((tmp_path / "a").stat().st_size)
    assert sizes[1] < 0.35 * sizes[0]
    load_adapter(reloaded, tmp_path / "a")
    for (name, _, wanted), (_, _, found) in zip(
        all_columns(trained), all_columns(reloaded), strict=True
    ):
        others = [dim for dim in range(wanted.delta.dim()) if dim != wanted.dim]
        largest = wanted.delta.abs().amax(others, keepdim=True) if others else wanted.delta.abs()
        error = (wanted.delta - found.delta).abs()
        assert (error <= largest * (0.51 / 127 if others else 1e-3) + 1e-7).all(), name


@pytest.mark.parametrize("last_scale", [0.125, 0.1])  # 16 bits hold the first, not the second
def test_columns_stay_on_their_grid(last_scale: float, tmp_path: Path) -> None:
    scales = torch.tensor([0.5, 0.25, 1.0, last_scale])[:, None]

    def net() -> nn.Linear:
        layer = nn.Linear(6, 4)
        with torch.no_grad():
            codes = torch.randint(-100, 101, (4, 6), generator=torch.Generator().manual_seed(3))
            layer.weight.copy_(codes * scales)
            layer.bias.zero_()
        return layer

    trained, reloaded = net(), net()
    wrap(trained, [Rule("*", r=3)])
    keep_on_grid(trained, {"weight": (scales, 127)})
    columns = trained.partial["weight"]  # type: ignore[union-attr, operator]
    with torch.no_grad():
        columns.delta.copy_(scales * torch.tensor([[0.4, -0.6, 2.2]]))
    trained(torch.ones(1, 6))
    moved = (trained.weight - net().weight) / scales
    steps = torch.tensor([[0.0, -1.0, 2.0]]).expand(4, 3)
    error = 0 if last_scale == 0.125 else 1e-4
    torch.testing.assert_close(moved[:, columns.indices], steps, rtol=0, atol=error)
    with torch.no_grad():
        columns.delta.fill_(1e6)
    trained(torch.ones(1, 6))
    codes = trained.weight[:, columns.indices] / scales
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=error)
    assert codes.max() <= 127
    save_adapter(trained, tmp_path / "a", compact=True)
    load_adapter(reloaded, tmp_path / "a")
    reloaded(torch.ones(1, 6))
    assert torch.equal(reloaded.weight, trained.weight)
    with safe_open(tmp_path / "a", framework="pt") as file:
        kept = file.get_tensor("weight:scale").dtype
    assert kept == (torch.float16 if last_scale == 0.125 else torch.float32)


@pytest.mark.filterwarnings("ignore:.*use save_adapter")  # a state dict lacks the side branch
def test_reloading_keeps_rules_and_can_train_on_and_unwrap(base: Net, tmp_path: Path) -> None:
    net, first, second = (copy.deepcopy(base) for _ in range(3))
    wrap(net, RULES)
    train(net)
    save_adapter(net, tmp_path / "first")
    load_adapter(first, tmp_path / "first")
    save_adapter(first, tmp_path / "second")
    load_adapter(second, tmp_path / "second")
    for name, tensor in net.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    assert base_hash(second) == base_hash(net) == base_hash(base)
    train(first)
    train(net)
    torch.testing.assert_close(first.state_dict(), net.state_dict())
    torch.testing.assert_close(dict(first.named_parameters()), dict(net.named_parameters()))
    unwrap(second)
    for name, tensor in base.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_running_statistics_that_did_not_change_are_not_stored(tmp_path: Path) -> None:
    def net() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))

    for mode, count in ((False, 0), (True, 3)):
        trained = net()
        wrap(trained, [Rule("0", r=1)])
        trained.train(mode)
        trained(torch.randn(4, 2, 5)).square().sum().backward()
        torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], 0.1).step()
        save_adapter(trained, tmp_path / "a.safetensors")
        assert (
            sum(name.endswith(":value") for name in load_file(tmp_path / "a.safetensors")) == count
        )
        reloaded = net()
        load_adapter(reloaded, tmp_path / "a.safetensors")
        for name, value in reloaded.state_dict().items():
            assert torch.equal(value, trained.state_dict()[name]), name


def test_another_base_is_refused(base: Net, tmp_path: Path) -> None:
    wrapped, path = copy.deepcopy(base), tmp_path / "adapter"
    wrap(wrapped, RULES)
    save_adapter(wrapped, path)
    with pytest.raises(ValueError, match="unwrap"):
        load_adapter(wrapped, path)
    with torch.no_grad():
        base.q.bias[0] += 1e-6
    with pytest.raises(ValueError, match="another base"):
        load_adapter(base, path)


def test_what_is_no_adapter(base: Net, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not wrapped"):
        save_adapter(base, tmp_path / "adapter")
    wrap(base, [Rule("q", r=2)])
    disable(base)
    with pytest.raises(ValueError, match="enable"):
        save_adapter(base, tmp_path / "adapter")
    save_peft_paca(base, tmp_path)
    with pytest.raises(ValueError, match="not an adapter"):
        load_adapter(Net(), tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_adapter(Net(), tmp_path / "adapter_config.json")
