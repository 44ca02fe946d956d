"""The library on this project's network, which calls `F.relu` and has faster convolutions of its own."""

import copy
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from partialgrad import Rule, freeze_ops, saved_bytes, wrap
from partialgrad.benchmarks.methods import methods, settle
from partialgrad.layers import all_columns
from truenet.config import TRUNetConfig
from truenet.network import TRUNet


def test_gradients_and_a_fifth_of_the_saved_bytes() -> None:
    torch.manual_seed(0)
    config = TRUNetConfig()
    net = TRUNet(config, 4).double().eval()
    x = torch.randn(1, 30, 256, 4, dtype=torch.float64)
    hidden = torch.zeros(1, 16, config.time_gru_units, dtype=torch.float64)
    reference = copy.deepcopy(net)
    before = saved_bytes(lambda: net(x, hidden), net)
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.GRU)
    wrap(net, [Rule("*", fraction=1 / 8, bias=True, types=kinds)])
    freeze_ops(net)
    assert saved_bytes(lambda: net(x, hidden), net) < before / 5
    y, expected = net(x, hidden)[0], reference(x, hidden)[0]
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    for name, _, columns in all_columns(net):
        full = reference.get_parameter(name).grad
        assert full is not None
        want = full.index_select(columns.dim, columns.indices)
        torch.testing.assert_close(columns.delta.grad, want, rtol=1e-8, atol=1e-10)


def test_the_benchmark_of_the_shipped_weights_shows_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a whole training step, with transforms and loss; forward and levels as the script says."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    task = importlib.import_module("partialgrad_task").trunet()
    kept, losses = {}, {}
    for name in ("full fine-tuning", "ours + freeze_ops + DropBP 0.5"):
        candidate = methods()[name](task, torch.device("cpu"), 1e-3)
        settle(candidate.model)
        forward = lambda model=candidate.model: task.loss(model, task.training[0])  # noqa: E731
        kept[name] = saved_bytes(forward, candidate.model)
        losses[name] = forward().item()
    full, ours = kept.values()
    assert ours < full / 5
    first, second = losses.values()
    assert first == pytest.approx(second, abs=1e-3)
