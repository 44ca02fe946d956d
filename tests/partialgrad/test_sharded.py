"""FSDP: wrap with side branches, then shard; two ranks train what one process would. The other orders are refused."""

import os
import re
import tempfile
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from partialgrad import Rule, load_adapter, save_adapter, wrap


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def train(model: nn.Module, rank: int | None) -> torch.Tensor:
    """SGD steps on a rank's half of the batch, or on all of it; what comes out then."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.randn(2, 5, 8, generator=generator)
        model(x.flatten(0, 1) if rank is None else x[rank]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    y: torch.Tensor = model(torch.ones(1, 8))
    return y


def side_branches(rank: int) -> dict[str, Tensor]:
    """What comes out of one process with all data, of this rank with its half, and of its saved adapter."""
    mesh = init_device_mesh("cpu", (2,))
    model = net()
    wrap(model, [Rule("*", r=2, side=True)])
    fully_shard(model, mesh=mesh)
    alone = net()
    wrap(alone, [Rule("*", r=2)])
    found = {"alone": train(alone, None), "sharded": train(model, rank)}
    loaded = net()
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, os.path.join(folder, "adapter"))
        load_adapter(loaded, os.path.join(folder, "adapter"))
    found["loaded"] = loaded(torch.ones(1, 8))
    return {name: y.detach() for name, y in found.items()}


def other_orders(rank: int) -> list[str]:
    """What is said where columns live in the weights, and where a model is sharded before it is wrapped."""
    mesh, said = init_device_mesh("cpu", (2,)), []
    model = net()
    wrap(model, [Rule("*", r=2)])
    fully_shard(model, mesh=mesh)
    with pytest.raises(ValueError, match="sharded") as caught:
        train(model, rank)
    said.append(str(caught.value))
    model = net()
    fully_shard(model, mesh=mesh)
    with pytest.raises(ValueError, match="sharded") as caught:
        wrap(model, [Rule("*", r=2)])
    return [*said, str(caught.value)]


def test_two_ranks_with_a_half_of_every_weight(tmp_path: Path) -> None:
    for found in run_ranks(side_branches, tmp_path):
        torch.testing.assert_close(found["sharded"], found["alone"])
        torch.testing.assert_close(found["loaded"], found["alone"])
        assert not torch.allclose(net()(torch.ones(1, 8)), found["alone"], atol=1e-3)


def test_other_orders_are_refused(tmp_path: Path) -> None:
    for trained, wrapped in run_ranks(other_orders, tmp_path):
        assert re.search("sharded after wrap.*side=True", trained)
        assert "sharded already: wrap the model first, with side=True" in wrapped
