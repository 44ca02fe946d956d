"""Partial gradients for any PyTorch model: train chosen connections, keep only what their gradient needs."""

from partialgrad.frozen import freeze_ops, frozen_ops, unfreeze_ops
from partialgrad.measure import saved_bytes
from partialgrad.optimizer import PartialAdamW, check_optimizer
from partialgrad.rules import Plan, Rule, plan
from partialgrad.wrap import disable, enable, merge, unwrap, wrap, write

__all__ = [
    "PartialAdamW",
    "Plan",
    "Rule",
    "check_optimizer",
    "disable",
    "enable",
    "freeze_ops",
    "frozen_ops",
    "merge",
    "plan",
    "saved_bytes",
    "unfreeze_ops",
    "unwrap",
    "wrap",
    "write",
]
