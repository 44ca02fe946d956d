"""Trained rows of an embedding table."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from partialgrad.layers import PartialLayer, Reading


class PartialEmbedding(PartialLayer):
    """`nn.Embedding`: a row takes the place of a column, and the ids are all there is to keep."""

    own_types = (nn.Embedding,)
    padding_idx: int | None

    @staticmethod
    def readings(layer: nn.Embedding) -> list[Reading]:
        """Rows of the table."""
        return [Reading(("weight",), 0, layer.num_embeddings)]

    @classmethod
    def refusal(cls, layer: nn.Embedding) -> str | None:
        """Options that change the gradient or the table itself."""
        for option in ("max_norm", "scale_grad_by_freq", "sparse"):
            if getattr(layer, option):
                return f"its option {option} is not supported: set it to None or False"
        return super().refusal(layer)

    def forward(self, ids: Tensor) -> Tensor:
        """The layer's own forward pass; the backward pass gives the gradient of the chosen rows."""
        self.begin()
        own = super().forward
        rows = self.columns("weight")
        if rows is None:
            return own(ids)
        if rows.original is None:
            spare = F.pad(rows.delta, (0, 0, 0, 1))  # a row of zeros for ids that are not chosen
            y: Tensor = own(ids)
            return y + F.embedding(_slots(ids, rows.indices, self.padding_idx), spare).to(y.dtype)
        if not torch.is_grad_enabled():
            return own(ids)
        arguments = (ids, rows.delta, rows.indices, self.padding_idx, own)
        return _PartialEmbedding.apply(*arguments)  # type: ignore[no-untyped-call]


class _PartialEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        ids: Tensor,
        rows: Tensor,
        indices: Tensor,
        padding: int | None,
        forward: Callable[[Tensor], Tensor],
    ) -> Tensor:
        ctx.save_for_backward(ids, indices)
        ctx.padding, ctx.shape, ctx.dtype = padding, rows.shape, rows.dtype
        return forward(ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        ids, indices = ctx.saved_tensors
        r, width = ctx.shape
        gradient = dy.new_zeros(r + 1, width, dtype=ctx.dtype)
        slots = _slots(ids, indices, ctx.padding).flatten()
        gradient.index_add_(0, slots, dy.reshape(-1, width).to(ctx.dtype))
        return None, gradient[:r], None, None, None


def _slots(ids: Tensor, indices: Tensor, padding: int | None) -> Tensor:
    """The place of each id among the sorted indices, or one past the last where it is not among them."""
    place = torch.searchsorted(indices, ids.to(indices.dtype)).clamp_(max=len(indices) - 1)
    chosen = indices[place] == ids
    if padding is not None:
        chosen &= ids != padding
    return torch.where(chosen, place, len(indices))
