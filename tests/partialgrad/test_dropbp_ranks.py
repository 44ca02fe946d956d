"""Two processes with different random states drop the same and stay equal to one process with both batches."""

from pathlib import Path

import torch
from ranks import RANKS, run_ranks
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from partialgrad import dropbp

STEPS = 3


class Residual(nn.Module):
    """Four branches."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4) to the same."""
        for branch in self.branches:
            x = x + branch(x).tanh()
        return x


def train(batch: Tensor, is_distributed: bool) -> tuple[list[frozenset[str]], list[Tensor]]:
    """What was dropped in each step, and the weights after the last."""
    torch.manual_seed(0)
    model: nn.Module = Residual()
    torch.manual_seed(
        batch.shape[0] * 7 + int(batch.sum() * 100)
    )  # other random numbers on every rank
    dropping = dropbp.attach(model, dropbp.Policy(dropbp.named(model, "branches.*"), 0.5))
    if is_distributed:
        model = DistributedDataParallel(model, find_unused_parameters=True)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    dropping.follow(optimizer)
    dropped = []
    for _ in range(STEPS):
        dropped.append(dropping.dropped)
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    return dropped, [parameter.detach() for parameter in model.parameters()]


def batch_of(rank: int) -> Tensor:
    """(3, 4), one per rank."""
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(rank))


def train_rank(rank: int) -> tuple[list[frozenset[str]], list[Tensor]]:
    """One process."""
    return train(batch_of(rank), is_distributed=True)


def test_ranks_agree(tmp_path: Path) -> None:
    first, second = run_ranks(train_rank, tmp_path)
    alone = train(torch.cat([batch_of(rank) for rank in range(RANKS)]), is_distributed=False)
    assert first[0] == second[0] == alone[0]
    assert len(set(first[0])) > 1
    torch.testing.assert_close(first[1], second[1], rtol=0, atol=0)
    torch.testing.assert_close(first[1], alone[1])
