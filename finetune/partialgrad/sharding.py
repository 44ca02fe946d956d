"""Weights of which every rank holds a part (`torch.distributed.fsdp.fully_shard`).

PyTorch shows such a weight as a DTensor, except during the forward and backward pass of its layer, for which it is
gathered. Tensor parallelism shows a DTensor there too, which trained columns do not work with.
"""

from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(tensor: Any) -> bool:
    """Whether other ranks hold parts of it."""
    return hasattr(tensor, "device_mesh")


def whole(tensor: Any) -> Tensor:
    """The tensor, gathered from all ranks if it is sharded: then all must call this together."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return gathered


def part_of(value: Tensor, like: Any) -> Any:
    """A tensor that every rank has whole, sharded as another is; without a word to the other ranks."""
    if is_sharded(value) or not is_sharded(like):
        return value.to(like.device)
    from torch.distributed.tensor import distribute_tensor  # slow to import, and seldom needed

    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def put_columns(weight: Any, dim: int, indices: Tensor, values: Tensor) -> None:
    """Write whole columns into this rank's part of a weight."""
    new = values.new_zeros(weight.shape).index_copy_(dim, indices, values)
    chosen = torch.zeros_like(new, dtype=torch.bool).index_fill_(dim, indices, True)
    local, new, chosen = (
        t.to_local() for t in (weight, part_of(new, weight), part_of(chosen, weight))
    )
    local.copy_(torch.where(chosen, new, local))


def average(gradient: Tensor, mesh: Any) -> None:
    """Replace it by its mean over all ranks of a mesh. A mean of gradients that were averaged before is itself."""
    for group in mesh.get_all_groups():
        torch.distributed.all_reduce(gradient, group=group)
    gradient /= mesh.size()


def fully_sharded(model: nn.Module) -> list[Any]:
    """The modules that `fully_shard` was called on."""
    return [module for module in model.modules() if hasattr(module, "reshard")]


def has_shards(model: nn.Module) -> bool:
    """Whether any weight is sharded, even if it is gathered at the moment."""
    return bool(fully_sharded(model)) or any(map(is_sharded, model.parameters()))


def let_go(model: nn.Module) -> None:
    """Forget weights that a forward pass has gathered: they look whole, and what is written there is lost."""
    for module in fully_sharded(model):
        module.reshard()
