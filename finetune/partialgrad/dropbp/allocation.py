"""Sharing a budget of dropped computation among the branches by how much their gradients matter."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from partialgrad.dropbp.attaching import DropBP
from partialgrad.dropbp.branches import Branches, matching
from partialgrad.dropbp.finding import evaluating
from partialgrad.dropbp.policy import MAX_RATE

# Of the largest: a branch without any sensitivity goes first, not at an infinite rate.
_LEAST_SENSITIVITY = 1e-9


def allocate(
    sensitivity: Mapping[str, float],
    compute: Mapping[str, float],
    rate: float,
    nested: bool = False,
) -> dict[str, float]:
    """The rates that change the gradient least while dropping a given share of the computation.

    They minimise Σ sensitivity · rate² / 2 under Σ compute · rate = `rate` · Σ compute: each is
    min(0.9, λ · compute / sensitivity). The paper's greedy search walks to the same point in steps of 0.1 (its
    order of dropping leaves computation out, so the two agree for branches that cost the same).

    Args:
        sensitivity: from `sensitivities`, at least 0.
        compute: of every branch, in any unit, above 0: from `forward_flops`, or your own.
        rate: share of the branches' computation to drop, 0 to 0.9.
        nested: the branches are the levels of a U-Net, outermost first: rates do not fall inwards.

    Raises:
        ValueError: a value outside its range, or other names in one table than in the other.
    """
    if set(sensitivity) != set(compute):
        raise ValueError("sensitivity and compute must have the same names")
    if not compute:
        raise ValueError("there are no branches to allocate to")
    if not 0 <= rate <= MAX_RATE:
        raise ValueError(f"the rate is {rate}: it must lie in [0, {MAX_RATE}]")
    if not all(value >= 0 for value in sensitivity.values()):
        raise ValueError("sensitivities must be at least 0")
    if not all(value > 0 for value in compute.values()):
        raise ValueError("the computation of every branch must be above 0")
    largest = max(sensitivity.values()) or 1.0
    groups = [
        ([name], compute[name], max(value / largest, _LEAST_SENSITIVITY))
        for name, value in sensitivity.items()
    ]
    if nested:
        groups = _rising(groups)
    names, costs, losses = zip(*groups, strict=True)
    shares = _shares(costs, losses, rate * sum(costs))
    by_name = {n: share for group, share in zip(names, shares, strict=True) for n in group}
    return {name: by_name[name] for name in sensitivity}


def _shares(costs: tuple[float, ...], losses: tuple[float, ...], budget: float) -> list[float]:
    """min(0.9, λ · cost / loss) with the λ that spends the budget: those at the cap are known from the order."""
    ratios = [cost / loss for cost, loss in zip(costs, losses, strict=True)]
    free = sum(cost * ratio for cost, ratio in zip(costs, ratios, strict=True))
    multiplier = budget / free
    for i in sorted(range(len(costs)), key=lambda i: -ratios[i]):
        if multiplier * ratios[i] <= MAX_RATE:
            break
        budget -= MAX_RATE * costs[i]
        free -= costs[i] * ratios[i]
        multiplier = max(budget, 0.0) / free if free > 0 else multiplier
    return [min(MAX_RATE, multiplier * ratio) for ratio in ratios]


_Group = tuple[list[str], float, float]


def _rising(groups: list[_Group]) -> list[_Group]:
    """Pool neighbours until cost / loss rises (isotonic regression by pooling adjacent violators)."""
    pooled: list[_Group] = []
    for group in groups:
        pooled.append(group)
        while len(pooled) > 1 and pooled[-2][1] * pooled[-1][2] > pooled[-1][1] * pooled[-2][2]:
            inner, outer = pooled.pop(), pooled.pop()
            pooled.append((outer[0] + inner[0], outer[1] + inner[1], outer[2] + inner[2]))
    return pooled


def sensitivities(
    dropping: DropBP, loss: Callable[[], Tensor], one_pass: bool = False
) -> dict[str, float]:
    """How much the gradient changes when each branch alone is dropped: Σ over the parameters of (‖g‖ − ‖g_l‖)².

    The paper does this once, after a tenth of the training at equal rates. One forward and backward pass per branch
    and one more, with the same random numbers; gradients, buffers and generators are left as they were.

    Args:
        dropping: what `attach` returned.
        loss: computes the loss of a few samples.
        one_pass: count only what the branch's own parameters lose, which one pass tells: Σ over them of ‖g‖². It is
            a lower bound. On the benchmarks' residual networks it ranks branches as the whole does, and rates by it
            change the gradient by at most 1 % more. On the levels of a U-Net (measured on a speech enhancer) it
            ranks otherwise, so it is not offered there.

    Returns:
        By branch; for the levels of a U-Net what each level adds to all deeper ones.

    Raises:
        ValueError: the model is in evaluation mode, where nothing is dropped; one pass for levels of a U-Net.
    """
    if not dropping.model.training:
        raise ValueError("nothing is dropped in evaluation mode: call model.train() first")
    if one_pass and dropping.policy.branches.nested:
        raise ValueError("one pass does not tell levels of a U-Net apart: leave out one_pass=True")
    branches, names = dropping.policy.branches, list(dropping.rates)
    whole = _gradient_norms(dropping, [], loss)
    if one_pass:
        return {name: _own_energy(dropping, name, whole) for name in names}
    dropped = [names[i:] if branches.nested else [name] for i, name in enumerate(names)]
    norms = [_gradient_norms(dropping, those, loss) for those in dropped]
    changes = [float((whole - those).square().sum()) for those in norms]
    if branches.nested:
        changes = [max(outer - inner, 0.0) for outer, inner in pairwise([*changes, 0.0])]
    return dict(zip(names, changes, strict=True))


def _own_energy(dropping: DropBP, branch: str, norms: Tensor) -> float:
    """Σ ‖g‖² over the trained parameters inside a branch."""
    modules = matching(dropping.model, dropping.policy.branches.modules[branch])
    own = {parameter for module in modules.values() for parameter in module.parameters()}
    trained = (p for p in dropping.model.parameters() if p.requires_grad)
    inside = torch.tensor([parameter in own for parameter in trained])
    return float(norms[inside].square().sum())


def _gradient_norms(dropping: DropBP, dropped: list[str], loss: Callable[[], Tensor]) -> Tensor:
    """(parameters,) norms of the gradients, on the CPU."""
    parameters = [p for p in dropping.model.parameters() if p.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in dropping.model.buffers()]
    devices = list({p.device for p in parameters if p.device.type != "cpu"})
    kind = devices[0].type if devices else "cuda"
    with torch.random.fork_rng(devices, device_type=kind), dropping.only(*dropped):
        gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    return torch.tensor([0.0 if g is None else float(g.norm()) for g in gradients]).double()


def forward_flops(model: nn.Module, branches: Branches, *inputs: Any) -> dict[str, float]:
    """Floating-point operations of each branch in one forward pass, as `torch.utils.flop_counter` counts them.

    Args:
        model: run once, in evaluation mode.
        branches: its branches.
        inputs: of the model.

    Raises:
        ValueError: nothing was counted in a branch.
    """
    with torch.no_grad(), evaluating(model), FlopCounterMode(display=False) as counter:
        model(*inputs)
    counts = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    root = type(model).__name__
    totals = {
        branch: float(sum(counts.get(f"{root}.{name}", 0) for name in names))
        for branch, names in branches.modules.items()
    }
    if empty := [branch for branch, total in totals.items() if not total]:
        raise ValueError(
            f"no operations were counted in {', '.join(empty)}: give their compute by hand"
        )
    return totals
