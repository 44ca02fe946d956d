"""Partial gradients for any PyTorch model: train chosen connections, keep only what their gradient needs."""

from partialgrad.adapters import load_adapter, save_adapter
from partialgrad.frozen import freeze_ops, frozen_ops, unfreeze_ops
from partialgrad.measure import saved_bytes
from partialgrad.observe import gradient_scores, shared_inputs
from partialgrad.optimizer import PartialAdamW, check_optimizer
from partialgrad.quantized import quantize_base
from partialgrad.rules import Plan, Rule, plan
from partialgrad.selection import Blocks, Given, Random, Scores, WeightNorm
from partialgrad.wrap import disable, enable, keep_on_grid, merge, unwrap, wrap, write

__all__ = [
    "Blocks",
    "Given",
    "PartialAdamW",
    "Plan",
    "Random",
    "Rule",
    "Scores",
    "WeightNorm",
    "check_optimizer",
    "disable",
    "enable",
    "freeze_ops",
    "frozen_ops",
    "gradient_scores",
    "keep_on_grid",
    "load_adapter",
    "merge",
    "plan",
    "quantize_base",
    "save_adapter",
    "saved_bytes",
    "shared_inputs",
    "unfreeze_ops",
    "unwrap",
    "wrap",
    "write",
]
