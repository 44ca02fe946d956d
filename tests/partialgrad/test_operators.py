"""Gradients of the operators equal the matching slice of autograd's, and they keep nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from partialgrad.operators import Convolution, Dense, Operator, partial_operator

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def check_against_autograd(
    operator: Operator, x: Tensor, weight: Tensor, chosen: Tensor, channels: Tensor, dim: int
) -> None:
    """`chosen` are indices along `dim` of the weight, `channels` those of x that they see."""
    x.requires_grad_()
    full = weight.clone().requires_grad_()
    y = operator.apply(x, full)
    bias = torch.randn(y.shape[operator.channel_dim(y)], dtype=x.dtype, requires_grad=True)
    shaped = bias.view(-1, *[1] * (y.dim() - 1 - operator.channel_dim(y)))
    expected = y + shaped
    dy = torch.randn_like(expected)
    dx, dw, db = torch.autograd.grad(expected, (x, full, bias), dy)

    selected = x.detach().index_select(operator.channel_dim(x), channels)
    columns = weight.index_select(dim, chosen).requires_grad_()
    y = partial_operator(operator, x, weight, bias, selected, columns)
    torch.testing.assert_close(y, expected, **TOLERANCE)
    partial = torch.autograd.grad(y, (x, columns, bias), dy)
    for got, want in zip(partial, (dx, dw.index_select(dim, chosen), db), strict=True):
        torch.testing.assert_close(got, want, **TOLERANCE)


@settings(max_examples=30)
@given(st.data())
def test_dense(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    inputs, outputs = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    leading = data.draw(st.lists(st.integers(1, 3), max_size=3))
    chosen = torch.tensor(sorted(data.draw(st.sets(st.integers(0, inputs - 1), min_size=1))))
    x, weight = torch.randn(*leading, inputs).double(), torch.randn(outputs, inputs).double()
    check_against_autograd(Dense(), x, weight, chosen, chosen, 1)


@settings(max_examples=60)
@given(st.data())
def test_convolution(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    spatial, transposed = data.draw(st.integers(1, 2)), data.draw(st.booleans())
    numbers = st.tuples(*[st.integers(1, 3)] * spatial)
    stride, dilation, kernel = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    padding = tuple(
        data.draw(st.integers(0, d * (k - 1) // 2)) for d, k in zip(dilation, kernel, strict=True)
    )
    extra = tuple(
        data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    groups, per_group, outputs = (data.draw(st.integers(1, 3)) for _ in range(3))
    operator = Convolution(
        stride, padding, dilation, groups, transposed, extra if transposed else ()
    )
    x = torch.randn(2, groups * per_group, *[8] * spatial, dtype=torch.float64)
    first = (groups * per_group, outputs) if transposed else (groups * outputs, per_group)
    weight = torch.randn(*first, *kernel, dtype=torch.float64)
    chosen = torch.tensor(sorted(data.draw(st.sets(st.integers(0, per_group - 1), min_size=1))))
    channels = (torch.arange(groups)[:, None] * per_group + chosen).flatten()
    check_against_autograd(
        operator, x, weight, channels if transposed else chosen, channels, 0 if transposed else 1
    )


CASES = [
    (Dense(), (2, 3, 4), (5, 4), 2, 1),
    (Convolution((2,), (1,), (1,)), (2, 4, 7), (3, 4, 3), 1, 1),
    (Convolution((1, 2), (0, 1), (1, 2)), (1, 4, 3, 7), (3, 4, 2, 2), 1, 1),
    (Convolution((2,), (1,), (1,), 1, True, (1,)), (2, 4, 3), (4, 2, 3), 1, 0),
]


@pytest.mark.parametrize(("operator", "x_shape", "weight_shape", "channel_dim", "dim"), CASES)
def test_gradcheck(
    operator: Operator, x_shape: list[int], weight_shape: list[int], channel_dim: int, dim: int
) -> None:
    torch.manual_seed(0)
    chosen = torch.tensor([1, 3])
    weight = torch.randn(weight_shape, dtype=torch.float64)

    def layer(x: Tensor, columns: Tensor) -> Tensor:
        live = weight.index_copy(dim, chosen, columns.detach())
        selected = x.detach().index_select(channel_dim, chosen)
        return partial_operator(operator, x, live, None, selected, columns)

    x = torch.randn(x_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x, weight.index_select(dim, chosen).requires_grad_()))


def test_keeps_only_the_selected_channels() -> None:
    x = torch.randn(4, 32, 50, requires_grad=True)
    weight, operator = torch.randn(16, 32, 3), Convolution((1,), (1,), (1,))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        partial_operator(operator, x, weight)
        assert [t.data_ptr() for t in kept] == [weight.data_ptr()]
        kept.clear()
        columns = weight[:, :2].clone().requires_grad_()
        partial_operator(operator, x, weight, None, x.detach()[:, :2].clone(), columns)
    assert sorted(t.numel() for t in kept) == [4 * 2 * 50, weight.numel()]


def test_a_faster_forward_gives_the_value_and_the_formula_the_gradient() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)
    y = partial_operator(Dense(), x, weight, forward=lambda x: (weight @ x.T).T)
    torch.testing.assert_close(y, x @ weight.T)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], weight.sum(0).expand(3, 4))
