"""Every kind of layer: values and gradients of its columns are those of the whole layer."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from partialgrad import Rule, plan, saved_bytes, wrap
from partialgrad.layers import all_columns


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


@pytest.mark.parametrize(("make", "make_input"), LAYERS, ids=name_of)
def test_gradcheck(make: Callable[[], nn.Module], make_input: Callable[[], Tensor]) -> None:
    """Of the values that are trained, which gradcheck changes unnoticed."""
    torch.manual_seed(0)
    layer, x = make().double(), make_input()
    wrap(layer, [Rule("*", r=1, bias=True)])
    deltas = [columns.delta for _, _, columns in all_columns(layer)]

    def run(*_: Tensor) -> Tensor:
        for _, weight, columns in all_columns(layer):
            weight.data.index_copy_(columns.dim, columns.indices, columns.values())
        return output(layer, x)

    assert torch.autograd.gradcheck(run, deltas, fast_mode=True)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 0.003)]
)
@pytest.mark.parametrize(("make", "make_input"), LAYERS, ids=name_of)
def test_other_precisions(
    make: Callable[[], nn.Module],
    make_input: Callable[[], Tensor],
    kind: torch.dtype,
    tolerance: float,
) -> None:
    """Against double precision, relative to the largest gradient."""
    torch.manual_seed(0)
    layer, x = make().to(kind), make_input()
    reference = copy.deepcopy(layer).double()
    wrap(layer, [Rule("*", r=2, bias=True)])
    if x.is_floating_point():
        x = x.to(kind)
    y = output(layer, x)
    expected = output(reference, x.double() if x.is_floating_point() else x)
    assert y.dtype == kind
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy.double())
    for name, _, columns in all_columns(layer):
        full = reference.get_parameter(name).grad
        assert full is not None
        assert columns.delta.grad is not None
        want = full.index_select(columns.dim, columns.indices)
        error = (columns.delta.grad.double() - want).abs().max()
        assert error <= tolerance * want.abs().max(), name


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
