"""Finding residual branches: additions of a tensor and something computed from that same tensor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from partialgrad.dropbp.branches import Branches
from partialgrad.dropbp.graph import history, nodes

# By module, in the order of their return: nodes of its inputs and results.
_Calls = dict[str, tuple[set[Node], set[Node]]]


def found(model: nn.Module, *inputs: Any) -> Branches:
    """The innermost residual branches of a model, each named after its last module.

    A branch is everything between x and the addition in x + f(x) that lies in modules; f must end in a module.
    Two modules added in parallel (attention and feed-forward of some transformers) are two branches. Projected
    shortcuts, g(x) + f(x), are not found: use `named`.

    Args:
        model: run once, in evaluation mode.
        inputs: a small example of its inputs.

    Raises:
        ValueError: there are none.
    """
    calls, results = _record(model, inputs)
    additions = [node for node in history(results) if node.name() == "AddBackward0"]
    branches: dict[str, tuple[str, ...]] = {}
    for addition in additions:
        operands = [before for before, _ in addition.next_functions if before is not None]
        for trunk, end in (operands, operands[::-1]) if len(operands) == 2 else ():
            branches.update(_between(calls, trunk, end))
    names = [name for name in calls if name in branches and not _has_inner(branches, name)]
    if not names:
        raise ValueError(
            "found no x + f(x) with f in a module: wrap the branches in dropbp.Branch or name them"
        )
    return Branches({name: branches[name] for name in names})


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode meanwhile; every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _record(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[_Calls, set[Node]]:
    """Run the model with everything requiring gradients; modules called twice are left out."""
    calls: _Calls = {}
    repeated = set()

    def note(name: str, given: Any, result: Any) -> None:
        repeated.update({name} & set(calls))
        calls[name] = (nodes(given), nodes(result))

    def hook(name: str) -> Any:
        return lambda _, args, kwargs, result: note(name, [args, kwargs], result)

    handles = [
        module.register_forward_hook(hook(name), with_kwargs=True)
        for name, module in model.named_modules()
        if name
    ]
    try:
        with evaluating(model), torch.enable_grad(), _all_requiring_grad(model):
            results = nodes(model(*map(_as_leaf, inputs)))
    finally:
        for handle in handles:
            handle.remove()
    return {name: call for name, call in calls.items() if name not in repeated}, results


def _as_leaf(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.detach().requires_grad_()


@contextmanager
def _all_requiring_grad(model: nn.Module) -> Iterator[None]:
    """Frozen weights would hide parts of the graph."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _between(calls: _Calls, trunk: Node, end: Node) -> dict[str, tuple[str, ...]]:
    """The branches of the addition trunk + end: one per module whose result flows into it."""
    behind = history([end], stops=[trunk])
    if trunk not in behind or end is trunk:
        return {}
    inside = _descendants(trunk, behind)
    names = _outermost(
        name
        for name, (given, result) in calls.items()
        if not result <= given and result <= inside and given & (inside | {trunk})
    )
    by_result = {node: name for name in names for node in calls[name][1]}
    seen = history([end], stops={trunk, *by_result})
    if trunk in seen:
        return {}  # some of it lies in no module
    exits = [name for name in names if calls[name][1] & seen]
    if len(exits) > 1:
        return {name: (name,) for name in exits}
    return {name: tuple(names) for name in exits}


def _descendants(start: Node, within: set[Node]) -> set[Node]:
    """What was computed from `start`, without `start`."""
    users: dict[Node, list[Node]] = {}
    for node in within - {start}:
        for before, _ in node.next_functions:
            if before is not None:
                users.setdefault(before, []).append(node)
    waiting, seen = [start], set[Node]()
    while waiting:
        following = [user for user in users.get(waiting.pop(), []) if user not in seen]
        seen.update(following)
        waiting += following
    return seen


def _outermost(names: Iterable[str]) -> list[str]:
    kept = list(names)
    return [name for name in kept if not any(name.startswith(f"{outer}.") for outer in kept)]


def _has_inner(branches: dict[str, tuple[str, ...]], name: str) -> bool:
    """Whether another branch lies within a module of this one."""
    others = [module for other, modules in branches.items() if other != name for module in modules]
    return any(other.startswith(f"{own}.") for own in branches[name] for other in others)
