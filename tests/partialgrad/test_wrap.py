"""A wrapped model computes what it did, trains its columns exactly, and can be put back to the bit."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from partialgrad import Rule, disable, enable, freeze_ops, merge, plan, saved_bytes, unwrap, wrap
from partialgrad.layers import PartialLayer
from partialgrad.wrap import all_columns, partial_layers


def ids() -> Tensor:
    return torch.randint(0, 9, (3, 5))


def sequence(width: int = 4) -> Tensor:
    return torch.randn(3, 5, width, dtype=torch.float64)


def image() -> Tensor:
    return torch.randn(2, 4, 6, 7, dtype=torch.float64)


LAYERS: list[tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = [
    (lambda: nn.Linear(4, 3), sequence),
    (lambda: nn.Linear(4, 3, bias=False), lambda: sequence()[0, 0]),
    (lambda: nn.Conv1d(4, 6, 3, 2, 1), lambda: sequence(9)[:, :4]),
    (lambda: nn.Conv1d(4, 6, 3, padding="same", dilation=2), lambda: sequence(9)[0, :4]),
    (lambda: nn.Conv2d(4, 6, (1, 3), (1, 2), (0, 1), groups=2), image),
    (lambda: nn.Conv2d(4, 5, 1), image),
    (lambda: nn.ConvTranspose1d(4, 3, 4, 2, 1), lambda: sequence(9)[:, :4]),
    (lambda: nn.ConvTranspose2d(4, 6, (1, 3), (1, 2), (0, 1), (0, 1), groups=2), image),
    (lambda: nn.Embedding(9, 3, padding_idx=2), ids),
    (lambda: nn.GRU(4, 3, batch_first=True), sequence),
    (lambda: nn.GRU(4, 3, 2, bidirectional=True), sequence),
    (lambda: nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), sequence),
    (lambda: nn.LSTM(4, 3, bias=False), lambda: sequence()[0]),
]


def name_of(value: Any) -> str | None:
    return str(value()) if isinstance(value(), nn.Module) else ""


def output(layer: nn.Module, x: Tensor) -> Tensor:
    y = layer(x)
    return torch.cat([part.flatten() for part in _flat(y)])


def _flat(y: Any) -> list[Tensor]:
    return [y] if isinstance(y, Tensor) else [tensor for part in y for tensor in _flat(part)]


@pytest.mark.parametrize("side", [False, True], ids=["live", "side"])
@pytest.mark.parametrize(("make", "make_input"), LAYERS, ids=name_of)
def test_every_layer(
    make: Callable[[], nn.Module], make_input: Callable[[], Tensor], side: bool
) -> None:
    torch.manual_seed(0)
    layer, x = make().double(), make_input()
    if x.is_floating_point():
        x.requires_grad_()
    reference = copy.deepcopy(layer)
    if side and isinstance(layer, nn.RNNBase):
        with pytest.raises(ValueError, match="no side branch"):
            wrap(layer, [Rule("*", r=2, bias=True, side=side)])
        return
    wrap(layer, [Rule("*", r=2, bias=True, side=side)])
    for step in range(2):
        expected = output(reference, x)
        dy = torch.randn_like(expected)
        expected.backward(dy)
        dx, x.grad = x.grad, None
        y = output(layer, x)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
        y.backward(dy)
        torch.testing.assert_close(x.grad, dx, rtol=0, atol=1e-10)
        x.grad = None
        for name, _, columns in all_columns(layer):
            full = reference.get_parameter(name)
            assert full.grad is not None
            want = full.grad.index_select(columns.dim, columns.indices)
            torch.testing.assert_close(columns.delta.grad, want, rtol=0, atol=1e-10)
            with torch.no_grad():  # a step of gradient descent on both
                full.index_add_(columns.dim, columns.indices, want, alpha=-0.1)
                columns.delta.sub_(0.1 * want)
            columns.delta.grad = full.grad = None
        reference.zero_grad()
        assert step or any((columns.delta != 0).any() for _, _, columns in all_columns(layer))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_with_state_and_packed(kind: type[nn.GRU] | type[nn.LSTM], pack: bool) -> None:
    torch.manual_seed(0)
    layer, x = kind(4, 3, 2, bidirectional=True).double(), torch.randn(5, 3, 4).double()
    state: Any = torch.randn(4, 3, 3).double()
    state = (state, state + 1) if kind is nn.LSTM else state
    data: Any = x
    if pack:
        data = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 5, 4]), enforce_sorted=False)
    expected, last = layer(data, state)
    wrap(layer, [Rule("*", fraction=0.5)])
    y, new_last = layer(data, state)
    torch.testing.assert_close(y.data if pack else y, expected.data if pack else expected)
    torch.testing.assert_close(new_last, last)
    assert (y.data if pack else y).requires_grad


def test_recurrent_bias_alone() -> None:
    torch.manual_seed(0)
    layer, x = nn.GRU(4, 3, bidirectional=True).double(), sequence()
    reference = copy.deepcopy(layer)
    wrap(layer, [Rule("*", train="bias")])
    y, expected = output(layer, x), output(reference, x)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    for name, _, columns in all_columns(layer):
        torch.testing.assert_close(columns.delta.grad, reference.get_parameter(name).grad)
    assert [name for name, _, _ in all_columns(layer)] == ["bias_ih_l0", "bias_ih_l0_reverse"]


def test_recurrent_keeps_less_where_the_input_is_wide() -> None:
    layer, x = nn.GRU(256, 4), torch.randn(20, 3, 256, requires_grad=True)
    before = saved_bytes(lambda: layer(x), layer)
    wrap(layer, [Rule("*", r=8)])
    assert saved_bytes(lambda: layer(x), layer) < 0.5 * before


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


def test_tied_weights_take_the_side_branch() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    net[1].weight = net[0].weight
    made = wrap(net, [Rule("*", r=2)])
    assert all("side branch" in row.detail for row in made.rows)
    before = net[0].weight.clone()
    train(net)
    assert torch.equal(net[0].weight, before)
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


def test_hooks_stay() -> None:
    calls = []
    layer = nn.Linear(4, 3)
    layer.register_forward_pre_hook(lambda *a: calls.append("pre"))
    layer.register_forward_hook(lambda *a: calls.append("forward"))
    layer.register_full_backward_hook(lambda *a: calls.append("backward"))
    wrap(layer, [Rule("*", r=2)])
    layer(torch.randn(2, 4, requires_grad=True)).sum().backward()
    assert calls == ["pre", "forward", "backward"]
    assert isinstance(layer, nn.Linear)
    assert isinstance(layer, PartialLayer)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_activation_checkpointing(reentrant: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)).double()
    wrap(net, [Rule("*", r=2, bias=True)])
    if frozen:
        freeze_ops(net)
    x = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
    leaves = [x, *(p for p in net.parameters() if p.requires_grad)]
    net(x).square().sum().backward()
    expected = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    y = checkpoint(net, x, use_reentrant=reentrant)
    assert isinstance(y, Tensor)
    y.square().sum().backward()
    torch.testing.assert_close([leaf.grad for leaf in leaves], expected)


@pytest.mark.parametrize("side", [False, True], ids=["live", "side"])
@pytest.mark.parametrize("frozen", [False, True])
def test_mixed_precision(side: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(8, 8, 3), nn.ReLU(), nn.ConvTranspose1d(8, 4, 3), nn.Linear(9, 4))
    reference, x = copy.deepcopy(net), torch.randn(2, 8, 9, requires_grad=True)
    wrap(net, [Rule("*", r=3, side=side)])
    if frozen:
        freeze_ops(net)
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = net(x), reference(x)
        assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    dx, x.grad = x.grad, None
    expected.float().square().sum().backward()
    torch.testing.assert_close(x.grad, dx, rtol=0.05, atol=0.05)
    for name, _, columns in all_columns(net):
        full = reference.get_parameter(name).grad
        assert full is not None
        want = full.index_select(columns.dim, columns.indices)
        assert columns.delta.grad is not None
        assert (columns.delta.grad - want).norm() < 0.05 * want.norm()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_in_mixed_precision(kind: type[nn.GRU] | type[nn.LSTM]) -> None:
    torch.manual_seed(0)
    layer = kind(6, 4, bidirectional=True)
    x = torch.randn(5, 3, 6)
    expected, _ = layer(x)
    wrap(layer, [Rule("*", r=2)])
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    y.float().sum().backward()


def test_parts_of_attention_trained_in_full_leave_its_children_frozen() -> None:
    net = nn.MultiheadAttention(4, 2)
    wrap(net, [Rule("", train="all")])
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert trained == ["in_proj_weight", "in_proj_bias"]


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


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.filterwarnings("ignore")
def test_compile(backend: str, frozen: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    wrap(net, [Rule("*", r=2)])
    if frozen:
        freeze_ops(net)
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, backend=backend)
    optimizers = [torch.optim.SGD(all_deltas(model), 0.1) for model in (net, twin)]
    for _ in range(3):
        x = torch.randn(2, 4)
        y, expected = compiled(x), twin(x)
        torch.testing.assert_close(y, expected)
        y.square().sum().backward()
        expected.square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert compiled.state_dict()
    torch.testing.assert_close(all_deltas(net), all_deltas(twin))


def all_deltas(net: nn.Module) -> list[nn.Parameter]:
    return [columns.delta for _, _, columns in all_columns(net)]


def test_wrapping_twice_and_unwrapping_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="call wrap"):
        unwrap(net)
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="wrapped already"):
        wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="wrapped already"):
        wrap(net[0], [Rule("*", r=2)])


class Faster(nn.Conv1d):
    """The same operator, computed in another way."""

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, self.kernel_size[0], 1)
        assert self.bias is not None
        return torch.einsum("bctk,ock->bot", windows, self.weight) + self.bias[:, None]


class Other(nn.Conv1d):
    """Another operator."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_subclasses() -> None:
    torch.manual_seed(0)
    layer, x = Faster(4, 3, 3).double(), torch.randn(2, 4, 8).double()
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), layer.weight)
    wrap(layer, [Rule("*", r=2)])
    assert torch.equal(layer(x), y)
    layer(x).square().sum().backward()
    columns = layer.partial["weight"]
    torch.testing.assert_close(columns.delta.grad, gradient[:, columns.indices])
    with pytest.raises(ValueError, match="Other has a forward pass of its own"):
        plan(Other(4, 3, 3), [Rule("*", r=2)])


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
