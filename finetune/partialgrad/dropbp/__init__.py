"""DropBP: skip the backward pass of whole branches, never their forward pass (arXiv 2402.17812).

    branches = dropbp.found(model, example)              # or named, wrapped, levels
    dropping = dropbp.attach(model, dropbp.Policy(branches, rates=0.5))
    dropping.follow(optimizer)                           # a new draw after every optimizer step

A branch that a residual or skip connection bypasses is computed under `no_grad` when it is dropped: it saves nothing,
its backward pass costs nothing, and the gradient still reaches what comes before through the bypass.
"""

from partialgrad.dropbp.allocation import allocate, forward_flops, sensitivities
from partialgrad.dropbp.attaching import DropBP, attach, attached
from partialgrad.dropbp.branches import Branch, Branches, levels, named, wrapped
from partialgrad.dropbp.finding import found
from partialgrad.dropbp.policy import MAX_RATE, Policy, draw

__all__ = [
    "MAX_RATE",
    "Branch",
    "Branches",
    "DropBP",
    "Policy",
    "allocate",
    "attach",
    "attached",
    "draw",
    "forward_flops",
    "found",
    "levels",
    "named",
    "sensitivities",
    "wrapped",
]
