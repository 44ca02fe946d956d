"""What is dropped in which step: rates, and draws that only depend on the seed and the step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal

from partialgrad.dropbp.branches import Branches

MAX_RATE = 0.9  # the paper's cap: every branch goes on learning


@dataclass(frozen=True)
class Policy:
    """What to drop, how often, and what that means for the gradient.

    Attributes:
        branches: from `named`, `found`, `wrapped` or `levels`.
        rates: probability of being dropped, 0 to 0.9, of all branches or by branch. In a U-Net a level's rate is at
            least that of the level around it.
        seed: with the step, all that the draws depend on.
        rescale: multiply the gradient of a kept branch by 1 / (1 − rate): it becomes that of the whole model on
            average (but noisier). The paper does not.
        dropped_gradient: what the optimizer sees of a dropped branch. "none" leaves its weights, moments and decay
            alone, "zero" lets moments and weight decay act.
    """

    branches: Branches
    rates: float | Mapping[str, float]
    seed: int = 0
    rescale: bool = False
    dropped_gradient: Literal["none", "zero"] = "none"

    def __post_init__(self) -> None:
        if self.dropped_gradient not in ("none", "zero"):
            raise ValueError(f'dropped_gradient is "none" or "zero", not {self.dropped_gradient!r}')
        if not self.branches.modules:
            raise ValueError("the policy has no branches: name some")
        checked_rates(self.branches, self.rates)


def checked_rates(branches: Branches, rates: float | Mapping[str, float]) -> dict[str, float]:
    """The rate of every branch.

    Raises:
        ValueError: a rate outside [0, 0.9], a name without rate or a rate without branch, or a U-Net's level
            that is kept while the level around it is dropped.
    """
    names = list(branches.modules)
    if not isinstance(rates, Mapping):
        rates = dict.fromkeys(names, rates)
    if set(rates) != set(names):
        wrong = sorted(set(rates) ^ set(names))
        raise ValueError(f"rates and branches differ in {', '.join(wrong)}: one rate per branch")
    for name, rate in rates.items():
        if not 0 <= rate <= MAX_RATE:
            raise ValueError(f"the rate of {name} is {rate}: it must lie in [0, {MAX_RATE}]")
    for outer, inner in pairwise(names) if branches.nested else ():
        if rates[outer] > rates[inner]:
            raise ValueError(
                f"{outer} is dropped more often ({rates[outer]}) than {inner} inside it ({rates[inner]}): "
                "rates of a U-Net must not fall inwards"
            )
    return {name: float(rates[name]) for name in names}


def draw(rates: Mapping[str, float], seed: int, step: int, nested: bool = False) -> frozenset[str]:
    """The branches to drop in one step; the same wherever seed, step and rates are the same.

    Every branch is dropped exactly as often as its rate says. Independent branches are sampled systematically in a
    random order, so the number dropped is always the sum of the rates, rounded up or down: time and memory stay put.
    Nested ones share one draw, the depth of the cut.
    """
    generator = Random(f"partialgrad.dropbp {seed} {step}")  # text seeds: stable, and far apart
    position = generator.random()
    if nested:
        return frozenset(name for name, rate in rates.items() if position < rate)
    names = list(rates)
    generator.shuffle(names)
    dropped = []
    for name in names:
        following = position + rates[name]
        if math.floor(following) > math.floor(position):
            dropped.append(name)
        position = following
    return frozenset(dropped)
