"""Which columns to train.

A selector gets the names of the weights that read one tensor, those weights with their columns first, and how many
columns to choose; it returns distinct indices. Any function of this form will do. Random choice is the default:
published evidence that scores do better is thin, so compare both on your data.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Selector = Callable[[Sequence[str], Sequence[Tensor], int], Tensor]


@dataclass(frozen=True)
class Random:
    """Uniformly without repetition, seeded by the layer's name: the same on every rank, whatever else draws numbers."""

    seed: int = 0

    def __call__(self, names: Sequence[str], weights: Sequence[Tensor], r: int) -> Tensor:
        """Choose r columns."""
        return torch.randperm(len(weights[0]), generator=_generator(names[0], self.seed))[:r]


@dataclass(frozen=True)
class Blocks:
    """Random runs of `size` neighbours, which memory serves faster; the last run is cut to reach r."""

    size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a block of {self.size} columns: take a size of at least 1")

    def __call__(self, names: Sequence[str], weights: Sequence[Tensor], r: int) -> Tensor:
        """Choose r columns."""
        columns = len(weights[0])
        starts = torch.arange(0, columns, self.size)
        order = torch.randperm(len(starts), generator=_generator(names[0], self.seed))
        indices = (starts[order, None] + torch.arange(self.size)).flatten()
        return indices[indices < columns][:r]


@dataclass(frozen=True)
class WeightNorm:
    """The columns of the largest norm, over all weights that read the tensor."""

    def __call__(self, names: Sequence[str], weights: Sequence[Tensor], r: int) -> Tensor:
        """Choose r columns."""
        return _largest([weight.flatten(1).float().norm(dim=1) for weight in weights], r)


@dataclass(frozen=True)
class Scores:
    """The columns of the largest score, for example those of `gradient_scores`.

    Args:
        scores: weight name to a score for each of its columns.
    """

    scores: Mapping[str, Tensor]

    def __call__(self, names: Sequence[str], weights: Sequence[Tensor], r: int) -> Tensor:
        """Choose r columns."""
        missing = [name for name in names if name not in self.scores]
        if missing:
            raise ValueError(f"no scores for {', '.join(missing)}: score them, or use another rule")
        return _largest([self.scores[name] for name in names], r)

    def __repr__(self) -> str:
        """Without the numbers: it goes into the rule table of an adapter."""
        return f"Scores(of {len(self.scores)} weights)"


@dataclass(frozen=True)
class Given:
    """Indices from elsewhere.

    Args:
        indices: weight name to its column indices.
    """

    indices: Mapping[str, Sequence[int] | Tensor]

    def __call__(self, names: Sequence[str], weights: Sequence[Tensor], r: int) -> Tensor:
        """Look up the columns of the first weight; others that read the same tensor share them."""
        found = [self.indices[name] for name in names if name in self.indices]
        if not found:
            raise ValueError(
                f"no indices given for {names[0]}; there are: {', '.join(self.indices)}"
            )
        return torch.as_tensor(found[0], dtype=torch.int64)

    def __repr__(self) -> str:
        """Without the numbers: they are stored beside the rule table."""
        return f"Given(for {len(self.indices)} weights)"


def check_indices(indices: Tensor, columns: int, r: int | None, name: str) -> Tensor:
    """Sort a selector's answer, or say what is wrong with it.

    Raises:
        ValueError: repeated, outside the weight, or not r of them.
    """
    indices = indices.detach().cpu().to(torch.int64).sort().values
    if indices.dim() != 1 or len(indices) == 0 or len(indices.unique()) != len(indices):
        raise ValueError(f"{name}: column indices must be a list of distinct numbers")
    if indices[0] < 0 or indices[-1] >= columns:
        raise ValueError(
            f"{name} has columns 0 to {columns - 1}, the selection has {indices.tolist()}"
        )
    if r is not None and len(indices) != r:
        raise ValueError(f"{name}: the rule asks for {r} columns, the selection has {len(indices)}")
    return indices


def _largest(scores: Sequence[Tensor], r: int) -> Tensor:
    total = torch.stack([score.double().cpu().square() for score in scores]).sum(0)
    return total.topk(r).indices


def _generator(name: str, seed: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
