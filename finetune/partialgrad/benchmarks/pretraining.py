"""Give a built-in model something to know before it is fine-tuned."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def pretrain(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Sequence[Any],
    learning_rate: float = 3e-3,
) -> None:
    """One AdamW step for each batch, with the learning rate falling to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(batches))
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
        schedule.step()
