"""Frozen operators: same values, same gradients, fewer bytes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from partialgrad import Rule, freeze_ops, frozen_ops, saved_bytes, unfreeze_ops, wrap

OPERATORS = [
    nn.Conv1d(4, 6, 3, 2, 1, groups=2),
    nn.Conv2d(4, 3, (1, 3), dilation=(1, 2)),
    nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2),
    nn.ConvTranspose2d(4, 3, 2, 2),
    nn.BatchNorm1d(4),
    nn.BatchNorm2d(4, affine=False),
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.LeakyReLU(0.2),
    nn.PReLU(),
    nn.PReLU(4),
]


def name_of(layer: nn.Module) -> str:
    return str(layer)


@pytest.mark.parametrize("layer", OPERATORS, ids=name_of)
def test_values_and_gradients(layer: nn.Module) -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double().eval().requires_grad_(False)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        assert layer.running_mean is not None
        layer.running_mean.normal_()
    shape = (2, 4, 5, 7) if "2d" in str(layer) else (2, 4, 7)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = layer(x * 1)
    dy = torch.randn_like(expected)
    (dx,) = torch.autograd.grad(expected, x, dy)
    freeze_ops(layer)
    y = layer(x * 1)
    assert torch.equal(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y, x, dy)[0], dx, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", OPERATORS, ids=name_of)
def test_gradients_of_trained_operators_are_unchanged(layer: nn.Module) -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double().eval()
    x = torch.randn((2, 4, 5, 7) if "2d" in str(layer) else (2, 4, 7), dtype=torch.float64)
    x.requires_grad_()
    leaves = [x, *layer.parameters()]
    expected = torch.autograd.grad(layer(x * 1).square().sum(), leaves)
    with frozen_ops():
        got = torch.autograd.grad(layer(x * 1).square().sum(), leaves)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("part", [slice(None), slice(1, 3)])
@pytest.mark.parametrize("activation", [F.relu, F.leaky_relu, F.silu])
def test_in_place_means_in_place(activation: Any, part: slice) -> None:
    """Also where nobody takes the result, and on a view."""

    def run(x: Tensor) -> Tensor:
        y = 1.5 * x
        activation(y[:, part], inplace=True)
        return y

    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    expected = run(x)
    (dx,) = torch.autograd.grad(expected.square().sum(), x)
    with frozen_ops(compress=True):
        y = run(x)
    assert torch.equal(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], dx)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.LeakyReLU(0.2)], ids=name_of)
def test_not_a_number_and_infinity_go_where_pytorch_sends_them(layer: nn.Module) -> None:
    x = torch.tensor([float("nan"), -1.0, 0.0, 1.0], requires_grad=True)
    for dy in (torch.ones(4), torch.full((4,), float("inf")), torch.full((4,), float("nan"))):
        (expected,) = torch.autograd.grad(layer(x), x, dy)
        with frozen_ops():
            (dx,) = torch.autograd.grad(layer(x), x, dy)
        torch.testing.assert_close(dx, expected, equal_nan=True)


def test_only_the_bias_of_a_convolution_and_of_a_norm_trained() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).double().eval()
    for layer in model:
        layer.weight.requires_grad_(False)
    biases = [layer.bias for layer in model]
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    expected = torch.autograd.grad(model(x).square().sum(), biases)
    with frozen_ops():
        y = model(x)
        torch.testing.assert_close(torch.autograd.grad(y.square().sum(), biases), expected)


def stack(blocks: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(blocks):
        layers += [nn.Conv1d(channels, channels, 3, padding=1), nn.BatchNorm1d(channels)]
        layers += [nn.PReLU(channels)]
    return nn.Sequential(*layers).eval()


def test_the_measured_stack() -> None:
    """`partial_gradients.md` section 5: 8 blocks of 32 channels, r = 4: 23.44 MB become at most 1.3 MB."""
    torch.manual_seed(0)
    model = stack(8, 32)
    x = torch.randn(1, 32, 7630)
    before = saved_bytes(lambda: model(x))
    assert 23.3e6 < before < 23.6e6
    reference = copy.deepcopy(model)
    wrap(model, [Rule("*", r=4, types=(nn.Conv1d,))])
    with_columns = saved_bytes(lambda: model(x))
    freeze_ops(model)
    after = saved_bytes(lambda: model(x), model)
    assert after < 1.3e6 < with_columns < 17e6
    reference(x).square().mean().backward()
    model(x).square().mean().backward()
    for layer, other in zip(model, reference, strict=True):
        if isinstance(layer, nn.Conv1d) and isinstance(other, nn.Conv1d):
            columns = layer.partial["weight"]
            want = other.weight.grad.index_select(1, columns.indices)
            torch.testing.assert_close(columns.delta.grad, want, rtol=1e-3, atol=1e-6)


class Functional(nn.Module):
    """Uses functions, not modules, and checkpoints a part of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.inner, F.relu(x), use_reentrant=False)
        assert isinstance(y, Tensor)
        return F.relu(y - 0.1)


def test_functions_and_checkpointing() -> None:
    torch.manual_seed(0)
    model, x = Functional().requires_grad_(False), torch.randn(2, 4, 64, requires_grad=True)
    expected, before = torch.autograd.grad(model(x).sum(), x), saved_bytes(lambda: model(x))
    freeze_ops(model)
    torch.testing.assert_close(torch.autograd.grad(model(x).sum(), x), expected)
    assert saved_bytes(lambda: model(x)) < 0.6 * before  # half: the recomputation needs relu(x)


def test_frozen_batch_norm_stays_in_evaluation() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Dropout()).train()
    model[0].requires_grad_(False)
    freeze_ops(model)
    assert [layer.training for layer in model] == [False, True, True]
    model.eval().train()
    assert [layer.training for layer in model] == [False, True, True]
    unfreeze_ops(model)
    assert [layer.training for layer in model.train()] == [True, True, True]
    assert type(model[0]) is nn.BatchNorm1d


@pytest.mark.parametrize("layer", [nn.SiLU(), nn.GELU(), nn.GELU("tanh")], ids=name_of)
def test_compressed_activations(layer: nn.Module) -> None:
    x = torch.linspace(-30, 30, 10_001, requires_grad=True)
    expected = layer(x)
    (dx,) = torch.autograd.grad(expected.sum(), x)
    freeze_ops(layer, compress=True)
    y = layer(x)
    assert torch.equal(y, expected)
    assert (torch.autograd.grad(y.sum(), x)[0] - dx).abs().max() < 0.0025
    assert saved_bytes(lambda: layer(x)) == x.numel()


def test_freezing_twice() -> None:
    model = nn.Sequential(nn.ReLU())
    freeze_ops(model)
    with pytest.raises(ValueError, match="unfreeze_ops"):
        freeze_ops(model)
