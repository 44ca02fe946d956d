"""FSDP: wrap with side branches, then shard; two ranks train what one process would. The other orders are refused."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn
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


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(os.path.join(folder, "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    model = net()
    wrap(model, [Rule("*", r=2, side=True)])
    fully_shard(model, mesh=mesh)
    alone = net()
    wrap(alone, [Rule("*", r=2)])
    expected = train(alone, None)
    torch.testing.assert_close(train(model, rank), expected)
    adapter, loaded = os.path.join(folder, f"adapter {rank}"), net()
    save_adapter(model, adapter)
    load_adapter(loaded, adapter)
    torch.testing.assert_close(loaded(torch.ones(1, 8)), expected)
    assert not torch.allclose(net()(torch.ones(1, 8)), expected, atol=1e-3)

    model = net()
    wrap(model, [Rule("*", r=2)])
    fully_shard(model, mesh=mesh)
    with pytest.raises(ValueError, match=r"sharded after wrap.*side=True"):
        train(model, rank)
    model = net()
    fully_shard(model, mesh=mesh)
    with pytest.raises(ValueError, match="sharded already: wrap the model first, with side=True"):
        wrap(model, [Rule("*", r=2)])
    torch.distributed.destroy_process_group()
    Path(folder, f"agreed {rank}").touch()


def test_two_ranks_with_a_half_of_every_weight(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)  # raises what a rank raises
    assert {path.name for path in tmp_path.glob("agreed *")} == {"agreed 0", "agreed 1"}
