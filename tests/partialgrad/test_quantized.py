"""An 8- or 4-bit base: close to the model it came from, exact in its own terms, adapters fit the original."""

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
from partialgrad.layers import all_columns
from partialgrad.nf4 import BLOCK, LEVELS, decode, encode
from partialgrad.quantized import Format


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 16, bias=False), nn.Linear(16, 4)
    )


RULES = [Rule("0", r=4, bias=True), Rule("2", r=3), Rule("3", train="nothing")]


FORMATS: list[Format] = ["int8", "nf4"]
each_format = pytest.mark.parametrize("format", FORMATS)


def quantized(model: nn.Module, format: Format) -> nn.Module:
    wrap(model, RULES)
    assert quantize_base(model, format) == ["0", "2", "3"]
    return model


def dequantized(model: nn.Module) -> nn.Sequential:
    """A plain model of the same weights, in double precision."""
    plain = net().double()
    with torch.no_grad():
        for name in ("0", "2", "3"):
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            scale = layer.get_buffer("weight_scale").double()
            if layer.weight.dtype == torch.int8:
                weight = layer.weight.double() * scale[:, None]
            else:
                weight = decode(layer.weight, scale, layer.in_features, torch.float64)
            weight[:, layer.get_buffer("float_indices")] = layer.get_buffer(
                "float_columns"
            ).double()
            target = plain.get_submodule(name)
            assert isinstance(target, nn.Linear)
            target.weight.copy_(weight)
            if layer.bias is not None and target.bias is not None:
                target.bias.copy_(layer.bias)
    return plain


@each_format
def test_values_and_gradients(format: Format) -> None:
    model = quantized(net(), format)
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


@pytest.mark.parametrize(("format", "largest_error"), [("int8", 0.02), ("nf4", 0.2)])
def test_close_to_the_original_and_exact_in_the_chosen_columns(
    format: Format, largest_error: float
) -> None:
    base, model = net(), quantized(net(), format)
    x = torch.randn(50, 32)
    error = (model(x) - base(x)).norm() / base(x).norm()
    assert 0 < error < largest_error
    chosen = dict((name, columns) for name, _, columns in all_columns(model))["0.weight"].indices
    only = torch.zeros(3, 32).index_fill_(1, chosen, 1.0)
    torch.testing.assert_close(model[0](only), base[0](only))  # type: ignore[index]


@pytest.mark.parametrize(("format", "row_bytes"), [("int8", 32), ("nf4", BLOCK // 2)])
def test_the_bytes_of_the_codes_and_nothing_dequantized_is_kept(
    format: Format, row_bytes: int
) -> None:
    model = quantized(net(), format)
    assert model.get_parameter("0.weight").nbytes == 24 * row_bytes
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


@pytest.mark.parametrize(("format", "tolerance"), [("int8", 0.05), ("nf4", 0.3)])
def test_adapters_fit_the_original_base(tmp_path: Path, format: Format, tolerance: float) -> None:
    model = quantized(net(), format)
    before = model(torch.ones(1, 32))
    y = train(model)
    assert y.square().sum() < before.square().sum()
    save_adapter(model, tmp_path / "adapter")
    original = net()
    load_adapter(original, tmp_path / "adapter")
    torch.testing.assert_close(original(torch.ones(1, 32)), y, rtol=tolerance, atol=tolerance)
    merge(original)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(torch.ones(1, 32)), y)
    disable(model)
    torch.testing.assert_close(model(torch.ones(1, 32)), before)
    enable(model)
    torch.testing.assert_close(model(torch.ones(1, 32)), y)


@each_format
def test_mixed_precision(format: Format) -> None:
    model, x = quantized(net(), format), torch.randn(5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    torch.testing.assert_close(y.float(), model(x), rtol=0.05, atol=0.05)
    y.float().sum().backward()


def test_no_way_back_but_the_base() -> None:
    model = quantized(net(), "int8")
    for action in (quantize_base, unwrap, merge):
        with pytest.raises(ValueError, match="quantized"):
            action(model)
    with pytest.raises(ValueError, match="call wrap"):
        quantize_base(net())
    with pytest.raises(ValueError, match="'int8' or 'nf4'"):
        quantize_base(net(), "int4")  # type: ignore[arg-type]


def test_nf4_is_the_nearest_level_and_its_own_fixed_point() -> None:
    """Of every block of 64, the last one cut short."""
    torch.manual_seed(0)
    weight = torch.randn(5, 2 * BLOCK + 6)
    codes, scales = encode(weight)
    assert codes.nbytes == 5 * 3 * BLOCK // 2
    rounded = decode(codes, scales, weight.shape[1], torch.float32)
    for start in range(0, weight.shape[1], BLOCK):
        block = weight[:, start : start + BLOCK]
        largest = block.abs().amax(1, keepdim=True)
        distances = (block / largest)[..., None] - torch.tensor(LEVELS)
        nearest = torch.tensor(LEVELS)[distances.abs().argmin(2)] * largest
        torch.testing.assert_close(rounded[:, start : start + BLOCK], nearest)
    again = decode(*encode(rounded), weight.shape[1], torch.float32)
    torch.testing.assert_close(again, rounded)
    zeros = decode(*encode(torch.zeros(2, 3)), 3, torch.float32)
    assert torch.equal(zeros, torch.zeros(2, 3))
