"""Count what a forward pass keeps for the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def saved_bytes(forward: Callable[[], Any], parameters: nn.Module | None = None) -> int:
    """Bytes that autograd keeps after `forward`, each memory counted once.

    Args:
        forward: builds a graph, for example `lambda: model(x)`.
        parameters: a model whose parameters and buffers are not counted, because they are there anyway.
    """
    sizes: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    own = set()
    if parameters is not None:
        own = {
            t.untyped_storage().data_ptr()
            for t in (*parameters.parameters(), *parameters.buffers())
        }
    del result
    return sum(size for pointer, (size, _) in sizes.items() if pointer not in own)
