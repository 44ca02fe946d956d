"""An 8-bit base: close to the model it came from, exact in its own terms, adapters fit the original."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from partialgrad import (
    PartialAdamW,
    Rule,
    disable,
    enable,
    load_adapter,
    merge,
    quantize_base,
    save_adapter,
    saved_bytes,
    unwrap,
    wrap,
)
from partialgrad.wrap import all_columns


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 16, bias=False), nn.Linear(16, 4)
    )


RULES = [Rule("0", r=4, bias=True), Rule("2", r=3), Rule("3", train="nothing")]


def quantized(model: nn.Module) -> nn.Module:
    wrap(model, RULES)
    assert quantize_base(model) == ["0", "2", "3"]
    return model


def dequantized(model: nn.Module) -> nn.Sequential:
    """A plain model of the same weights, in double precision."""
    plain = net().double()
    with torch.no_grad():
        for name in ("0", "2", "3"):
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            weight = layer.weight.double() * layer.get_buffer("weight_scale").double()[:, None]
            weight[:, layer.get_buffer("float_indices")] = layer.get_buffer(
                "float_columns"
            ).double()
            target = plain.get_submodule(name)
            assert isinstance(target, nn.Linear)
            target.weight.copy_(weight)
            if layer.bias is not None and target.bias is not None:
                target.bias.copy_(layer.bias)
    return plain


def test_values_and_gradients() -> None:
    model = quantized(net())
    plain, x = dequantized(model), torch.randn(7, 32, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    y, expected = model(x), plain(wide)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-5)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=1e-4, atol=1e-5)
    for name, _, columns in all_columns(model):
        full = plain.get_parameter(name).grad
        assert full is not None
        assert columns.delta.grad is not None
        want = full.index_select(columns.dim, columns.indices)
        torch.testing.assert_close(columns.delta.grad.double(), want, rtol=1e-3, atol=1e-4)


def test_close_to_the_original_and_exact_in_the_chosen_columns() -> None:
    base, model = net(), quantized(net())
    x = torch.randn(50, 32)
    error = (model(x) - base(x)).norm() / base(x).norm()
    assert 0 < error < 0.02
    chosen = dict((name, columns) for name, _, columns in all_columns(model))["0.weight"].indices
    only = torch.zeros(3, 32).index_fill_(1, chosen, 1.0)
    torch.testing.assert_close(model[0](only), base[0](only))  # type: ignore[index]


def test_a_quarter_of_the_bytes_and_nothing_dequantized_is_kept() -> None:
    model = quantized(net())
    assert model.get_parameter("0.weight").nbytes == 32 * 24
    x = torch.randn(10, 32, requires_grad=True)
    kept = saved_bytes(lambda: model(x), model)
    assert kept == 10 * (4 + 3 + 24) * 4  # chosen channels of two layers, and tanh


def train(model: nn.Module) -> Tensor:
    optimizer, x = PartialAdamW(model, 0.01), torch.ones(1, 32)
    for _ in range(5):
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model(x)


def test_adapters_fit_the_original_base(tmp_path: Path) -> None:
    model = quantized(net())
    before = model(torch.ones(1, 32))
    y = train(model)
    assert y.square().sum() < before.square().sum()
    save_adapter(model, tmp_path / "adapter")
    original = net()
    load_adapter(original, tmp_path / "adapter")
    torch.testing.assert_close(original(torch.ones(1, 32)), y, rtol=0.05, atol=0.05)
    merge(original)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(torch.ones(1, 32)), y)
    disable(model)
    torch.testing.assert_close(model(torch.ones(1, 32)), before)
    enable(model)
    torch.testing.assert_close(model(torch.ones(1, 32)), y)


def test_mixed_precision() -> None:
    model, x = quantized(net()), torch.randn(5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    torch.testing.assert_close(y.float(), model(x), rtol=0.05, atol=0.05)
    y.float().sum().backward()


def test_no_way_back_but_the_base() -> None:
    model = quantized(net())
    for action in (quantize_base, unwrap, merge):
        with pytest.raises(ValueError, match="quantized"):
            action(model)
    with pytest.raises(ValueError, match="call wrap"):
        quantize_base(net())
