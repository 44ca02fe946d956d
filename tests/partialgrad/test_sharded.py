"""FSDP: wrapped before or after `fully_shard`, two ranks train what one process would, in side branches."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from partialgrad import (
    PartialAdamW,
    Rule,
    WeightNorm,
    disable,
    enable,
    freeze_ops,
    load_adapter,
    merge,
    quantize_base,
    save_adapter,
    unwrap,
    wrap,
)
from partialgrad.layers import all_columns

IDS = torch.arange(12).reshape(4, 3)
RULES = [
    Rule("norm", train="all"),
    Rule("convolution", r=2, bias=True, select=WeightNorm()),
    Rule("*", r=2, bias=True),
]


class Net(nn.Module):
    """One layer of each kind, and two that are one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(12, 8)
        self.convolution = nn.Conv1d(8, 7, 3, padding=1)
        self.back = nn.ConvTranspose1d(7, 8, 3, padding=1)
        self.recurrence = nn.GRU(8, 8, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, time) to (batch, time, 8)."""
        x = self.embedding(ids).transpose(1, 2)
        x = self.back(self.convolution(x).tanh()).transpose(1, 2)
        x = self.norm(self.recurrence(x)[0])
        return self.second(self.first(x).tanh())


def shard(model: nn.Module) -> None:
    """Some layers by themselves, whose weights are given back after the forward pass; then the rest."""
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model.convolution, model.recurrence):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh)


def train(model: nn.Module, rank: int | None) -> Tensor:
    """AdamW steps, each of two passes, on a rank's half of the batch or on all of it; what comes out then."""
    optimizer = PartialAdamW(model, 0.05, weight_decay=0.5)
    mine = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    for _ in range(3):
        for shift in range(2):
            model((IDS + shift)[mine] % 12).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return evaluate(model)


def evaluate(model: nn.Module) -> Tensor:
    """What comes out."""
    with torch.no_grad():
        y: Tensor = model(IDS)
    return y


def alone() -> tuple[Tensor, Tensor]:
    """Of one process, in place, after twice as many steps too."""
    model = Net()
    wrap(model, RULES)
    return train(model, None), train(model, None)


def wrapped_first(model: nn.Module) -> None:
    wrap(model, RULES)
    shard(model)


def sharded_first(model: nn.Module) -> None:
    shard(model)
    evaluate(model)
    wrap(model, RULES)


def frozen_too(model: nn.Module) -> None:
    wrapped_first(model)
    freeze_ops(model)


def each_order(rank: int) -> dict[str, Tensor]:
    """What comes out of one process with all data, of this rank with its half, switched off, and saved and loaded."""
    found = {"pretrained": evaluate(Net())}
    found["alone"], found["alone, trained on"] = alone()
    orders: list[Callable[[nn.Module], None]] = [wrapped_first, sharded_first, frozen_too]
    for order in orders:
        name, model = order.__name__, Net()
        order(model)
        found[name] = train(model, rank)
        assert all(columns.original is None for _, _, columns in all_columns(model))
        loaded, resumed = Net(), Net()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "adapter")
            save_adapter(model, path)
            load_adapter(loaded, path)
            load_adapter(resumed, path)
        shard(resumed)
        found[f"{name}, loaded, then sharded"] = evaluate(resumed)
        resumed.reshard()
        found[f"{name}, trained on"] = train(resumed, rank)
        for refused in (merge, unwrap, quantize_base):
            with pytest.raises(ValueError, match="the base is sharded"):
                refused(model)
        found[f"{name}, loaded"] = evaluate(loaded)
        disable(model)
        found[f"{name}, disabled"] = evaluate(model)
        enable(model)
        found[f"{name}, enabled"] = evaluate(model)
    return found


def what_cannot_work(rank: int) -> list[str]:
    """What is said then."""
    mesh = init_device_mesh("cpu", (2,))
    said = []

    def refused(function: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match=r"shard|parallel") as caught:
            function()
        said.append(str(caught.value))

    model = nn.Sequential(nn.Linear(4, 4))
    parallelize_module(model, mesh, {"0": ColwiseParallel()})
    refused(lambda: wrap(model, [Rule("*", r=2)]))
    both = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "tensor"))
    model = nn.Sequential(nn.Linear(4, 4))
    parallelize_module(model, both["tensor"], {"0": ColwiseParallel()})
    fully_shard(model, mesh=both["data"])
    wrap(model, [Rule("*", r=2)])
    refused(lambda: model(torch.ones(1, 4)))
    return said


def test_two_ranks_with_a_half_of_every_weight(tmp_path: Path) -> None:
    for found in run_ranks(each_order, tmp_path):
        pretrained, *ends = (found.pop(n) for n in ("pretrained", "alone", "alone, trained on"))
        assert all((end - pretrained).abs().mean() > 0.05 for end in ends)
        assert len(found) == 18
        for name, y in found.items():
            want = pretrained if name.endswith("disabled") else ends[name.endswith("trained on")]
            torch.testing.assert_close(y, want, msg=lambda text, name=name: f"{name}: {text}")


def test_what_cannot_work_says_what_can(tmp_path: Path) -> None:
    for parallel, both in run_ranks(what_cannot_work, tmp_path):
        assert "tensor parallelism does not work with trained columns" in parallel
        assert "computes with a part of its weight" in both


def test_flattened_weights_are_refused() -> None:
    """PyTorch's older FSDP needs a GPU; this is how it shows."""
    flat = nn.Module()
    flat._fsdp_wrapped_module = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"use torch\.distributed\.fsdp\.fully_shard instead"):
        wrap(flat, [Rule("*", r=2)])
