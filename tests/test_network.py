"""The layer table is the paper's, the fast operators equal the stock ones, and the time GRU remembers."""

import pytest
import torch
from torch import nn

from truenet.config import TRUNetConfig
from truenet.network import FrequencyConv, FrequencyTransposedConv, TRUNet
from truenet.streaming import StreamingTRUNet


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_parameters_are_the_papers() -> None:
    network = TRUNet(TRUNetConfig(), 4)
    assert count(network.first, network.encoder) == 81_344
    assert count(network.frequency_gru) == 82_880
    assert count(network.time_gru) == 82_880
    assert count(network.decoder) == 134_812
    assert count(network) == 381_916


def test_one_mask_has_the_papers_other_count() -> None:
    assert count(TRUNet(TRUNetConfig(masks=1), 4).decoder) == 133_777


def test_wide_last_block() -> None:
    assert count(TRUNet(TRUNetConfig(wide_last_block=True), 4)) == 391_690


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("groups", [1, 6])
def test_fast_convolution_equals_stock(kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(kernel)
    layer = FrequencyConv(6, 6, kernel, stride, groups).double()
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_shifted_products_equal_stock(kernel: int, stride: int) -> None:
    torch.manual_seed(kernel)
    layer = FrequencyConv(6, 6, kernel, stride, 6).double()
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(layer.shifted(x), nn.Conv2d.forward(layer, x), rtol=0, atol=1e-14)
    half = layer.shifted(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), layer(x), rtol=0.01, atol=0.02)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_fast_transposed_convolution_equals_stock(kernel: int, stride: int) -> None:
    torch.manual_seed(kernel)
    layer = FrequencyTransposedConv(6, 7, kernel, stride).double()
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    expected = nn.ConvTranspose2d.forward(layer, x)
    assert expected.shape == (2, 7, 3, 16 * stride)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-14)


def test_fast_operators_have_the_stock_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    depthwise = FrequencyConv(6, 6, 5, 2, 6)
    for layer, fast_forward, stock in (
        (depthwise, depthwise, nn.Conv2d),
        (depthwise, depthwise.shifted, nn.Conv2d),
        (transposed := FrequencyTransposedConv(6, 4, 5, 2), transposed, nn.ConvTranspose2d),
    ):
        layer.double()
        layer.weight.grad = None
        fast_forward(x).square().sum().backward()
        fast = layer.weight.grad
        layer.weight.grad = None
        stock.forward(layer, x).square().sum().backward()  # type: ignore[attr-defined]
        torch.testing.assert_close(fast, layer.weight.grad, rtol=1e-12, atol=1e-12)


def test_the_time_gru_remembers_what_is_over() -> None:
    """Two streams that differ only before frame 20 still differ afterwards; without the past they would not."""
    torch.manual_seed(0)
    block = TRUNet(TRUNetConfig(), 4).double().eval().time_gru
    x = torch.randn(1, 64, 40, 16, dtype=torch.float64)
    other = x.clone()
    other[:, :, :20] = torch.randn(1, 64, 20, 16, dtype=torch.float64)
    hidden = torch.zeros(1, 16, 128, dtype=torch.float64)
    with torch.no_grad():
        difference = (block(x, hidden)[0] - block(other, hidden)[0]).abs().amax(dim=(0, 1, 3))
    assert difference[20] > 1e-2
    assert difference[25] > 1e-4
    assert difference[39] < difference[20]  # and it forgets in the end


def test_frames_are_independent_but_for_the_time_gru() -> None:
    torch.manual_seed(0)
    network = TRUNet(TRUNetConfig(), 4).double().eval()
    features = torch.randn(1, 4, 256, 4, dtype=torch.float64)
    with torch.no_grad():
        inner = network.frequency_gru(torch.randn(1, 128, 4, 16, dtype=torch.float64))
        logits, _ = network(features, torch.zeros(1, 16, 128, dtype=torch.float64))
        changed = features.clone()
        changed[:, 2:] += 1
        again, _ = network(changed, torch.zeros(1, 16, 128, dtype=torch.float64))
    assert inner.shape == (1, 64, 4, 16)
    assert torch.equal(logits[:, :, :2], again[:, :, :2])
    assert not torch.equal(logits[:, :, 2], again[:, :, 2])


def test_against_a_plain_reference() -> None:
    """The whole network, frame by frame, with stock layers in the paper's order and (batch, channels, bins) tensors."""
    torch.manual_seed(1)
    model = StreamingTRUNet(TRUNetConfig()).double().eval()
    network = model.network
    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_()  # type: ignore[union-attr]
                norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    features = torch.randn(1, 3, 256, 4, dtype=torch.float64)
    hidden = torch.randn(1, 16, 128, dtype=torch.float64) * 0.1
    with torch.no_grad():
        logits, following = network(features, hidden)
        expected, state = _plain(network, features[0], hidden[0])
    torch.testing.assert_close(logits[0].permute(1, 0, 2), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(following[0], state, rtol=0, atol=1e-10)


def _plain(
    network: TRUNet, features: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    functional = nn.functional

    def norm(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        shape = (1, -1, 1)
        scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
        return (
            (x - layer.running_mean.view(shape)) * scale.view(shape) + layer.bias.view(shape)
        ).relu()

    def conv(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight, padding = layer.weight[:, :, 0], layer.kernel_size[1] // 2
        return functional.conv1d(
            x, weight, layer.bias, layer.stride[1], padding, groups=layer.groups
        )

    def transposed(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight, stride = layer.weight[:, :, 0], layer.stride[1]
        padding = layer.kernel_size[1] // 2
        return functional.conv_transpose1d(x, weight, layer.bias, stride, padding, stride - 1)

    outputs = []
    for frame in features:
        x = conv(network.first, frame.T[None]).relu()
        skips = [x]
        for block in network.encoder:
            x = norm(block.pointwise_norm, conv(block.pointwise, x))
            x = norm(block.depthwise_norm, conv(block.depthwise, x))
            skips.append(x)
        rows, _ = network.frequency_gru.gru(x.transpose(1, 2))
        block = network.frequency_gru
        x = norm(block.pointwise_norm, conv(block.pointwise, rows.transpose(1, 2)))
        block = network.time_gru
        rows, state = block.gru(x[0].T[:, None], state[None])
        state = state[0]
        x = norm(block.pointwise_norm, conv(block.pointwise, rows[:, 0].T[None]))
        for index, block in enumerate(network.decoder):
            if index:
                x = torch.cat([x, skips[5 - index]], dim=1)
            x = transposed(block.transposed, norm(block.pointwise_norm, conv(block.pointwise, x)))
            if block.transposed_norm is not None:
                x = norm(block.transposed_norm, x)
        outputs.append(x)
    return torch.cat(outputs), state
