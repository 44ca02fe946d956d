"""Attaching a policy to a model: the three lines of autograd, and what keeps them honest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import Node
from torch.optim import Optimizer

from partialgrad.dropbp.branches import Branches, matching
from partialgrad.dropbp.graph import is_bypassed, nodes, tensors
from partialgrad.dropbp.policy import Policy, checked_rates, draw


def attach(model: nn.Module, policy: Policy) -> "DropBP":
    """Drop branches of `model` from now on, in training mode; nothing else about the model changes.

    Attach before wrapping the model for several ranks. `DistributedDataParallel` needs
    `find_unused_parameters=True`. `torch.compile` breaks its graph at every branch.

    Raises:
        ValueError: something is attached already, or the branches overlap or are never called.
    """
    if attached(model) is not None:
        raise ValueError("the model has a DropBP: call dropbp.attached(model).detach() first")
    _check(model, policy.branches)
    return DropBP(model, policy)


def attached(model: nn.Module) -> "DropBP | None":
    """What is attached to a model, or to a deep copy of one, which draws for itself and follows no optimizer."""
    gates = (module.__dict__.get("forward") for module in model.modules())
    return next((gate.dropping for gate in gates if isinstance(gate, _Gate)), None)


class DropBP:
    """A policy at work on a model; made by `attach`.

    Attributes:
        model: the model.
        policy: what `attach` was given.
        dropped: the branches that are dropped in this step.
    """

    def __init__(self, model: nn.Module, policy: Policy) -> None:
        self.model, self.policy = model, policy
        self.dropped: frozenset[str] = frozenset()
        self._step = 0
        self._rates = checked_rates(policy.branches, policy.rates)
        self._factors: dict[str, float] = {}
        self._unproven = set(policy.branches.modules)
        self._entries: dict[str, set[Node]] | None = None
        self._draw()
        self._gates = [
            _Gate(self, branch, module, is_exit=name == names[-1])
            for branch, names in policy.branches.modules.items()
            for name, module in matching(model, names).items()
        ]
        self._handles = [
            model.register_forward_pre_hook(self._before_forward),
            model.register_forward_hook(self._after_forward),
        ]

    @property
    def step(self) -> int:
        """The optimizer step that draws are for; set it where `follow` cannot count, and once when resuming."""
        return self._step

    @step.setter
    def step(self, step: int) -> None:
        self._step = step
        self._draw()

    @property
    def rates(self) -> dict[str, float]:
        """The rate of every branch; set them all anew when `allocate` says so."""
        return dict(self._rates)

    @rates.setter
    def rates(self, rates: float | Mapping[str, float]) -> None:
        self._rates = checked_rates(self.policy.branches, rates)
        self._draw()

    def follow(self, optimizer: Optimizer) -> None:
        """Settle the gradients before every step of `optimizer` and draw anew after it.

        However many backward passes a step accumulates, they share one draw. A step that `GradScaler` skips does
        not count.
        """
        self._handles += [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def settle_gradients(self) -> None:
        """Give parameters that only dropped branches have the gradient that the policy says: none, or zero."""
        branches = self.policy.branches.modules
        names = [name for branch in self.dropped for name in branches[branch]]
        inside = {m for top in matching(self.model, names).values() for m in top.modules()}
        outside = [m for m in self.model.modules() if m not in inside]
        kept = {parameter for module in outside for parameter in module.parameters(recurse=False)}
        for parameter in {p for module in inside for p in module.parameters(recurse=False)} - kept:
            zero = self.policy.dropped_gradient == "zero" and parameter.requires_grad
            parameter.grad = torch.zeros_like(parameter) if zero else None

    @contextmanager
    def only(self, *branches: str) -> Iterator[None]:
        """Drop just these branches meanwhile, and rescale nothing.

        Raises:
            ValueError: there is no such branch.
        """
        if unknown := set(branches) - set(self._rates):
            raise ValueError(
                f"no branch is called {', '.join(sorted(unknown))}: see policy.branches"
            )
        self.dropped, self._factors = frozenset(branches), {}
        try:
            yield
        finally:
            self._draw()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: the step and the rates."""
        return {"step": self.step, "rates": self.rates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called.

        Raises:
            ValueError: the rates are of other branches.
        """
        self.rates, self.step = state["rates"], state["step"]

    def detach(self) -> None:
        """Restore the model.

        Raises:
            ValueError: the `forward` of a branch was replaced after `attach`.
        """
        for gate in self._gates:
            gate.check()
        for gate in self._gates:
            gate.remove()
        for handle in self._handles:
            handle.remove()

    def _draw(self) -> None:
        branches = self.policy.branches
        self.dropped = draw(self._rates, self.policy.seed, self._step, branches.nested)
        self._factors = _factors(self._rates, branches.nested) if self.policy.rescale else {}

    def _is_at_work(self) -> bool:
        """Whether gradients are recorded of a forward pass of training."""
        return torch.is_grad_enabled() and self.model.training

    def _note_entry(self, branch: str, values: Any) -> None:
        """Remember where a dropped branch began, for `_after_forward`."""
        if self._entries is not None and branch in self._unproven:
            self._entries.setdefault(branch, set()).update(nodes(values))

    def _rescale(self, branch: str, result: Any) -> None:
        """Make gradients of a kept branch larger, if the policy wants that."""
        if branch in self._factors:
            for tensor in filter(lambda tensor: tensor.requires_grad, tensors(result)):
                tensor.register_hook(partial(torch.mul, self._factors[branch]))

    def _before_step(self, *_: Any) -> None:
        self.settle_gradients()

    def _after_step(self, *_: Any) -> None:
        self.step += 1

    def _before_forward(self, *_: Any) -> None:
        self._entries = {} if self._unproven else None

    def _after_forward(self, _: nn.Module, __: Any, result: Any) -> None:
        self._prove_bypass(result)
        if self._is_at_work() and self.dropped:
            self._let_backward_pass(list(tensors(result)))

    def _let_backward_pass(self, results: list[torch.Tensor]) -> None:
        """Where all that is trained was dropped, `loss.backward()` finds nothing to do, which is no error."""
        is_trained = any(parameter.requires_grad for parameter in self.model.parameters())
        if is_trained and not any(tensor.requires_grad for tensor in results):
            for tensor in results:
                tensor.requires_grad_(tensor.is_floating_point())

    def _prove_bypass(self, result: Any) -> None:
        """The first time that a branch is dropped, see that something bypasses it."""
        entries, self._entries = self._entries, None
        entries = {branch: entry for branch, entry in (entries or {}).items() if entry}
        if not entries or next(tensors(result), None) is None:
            return
        parameters = {id(parameter) for parameter in self.model.parameters()}
        for branch, entry in reversed(entries.items()):  # the last one cuts off those before it too
            if not is_bypassed(entry, nodes(result), parameters):
                raise ValueError(
                    f"no skip connection bypasses {branch} ({', '.join(self.policy.branches.modules[branch])}): "
                    "dropping it leaves everything before it without a gradient. Take it out of the branches"
                )
        self._unproven -= set(entries)


class _Gate:
    """Stands in for the `forward` of one module of a branch."""

    def __init__(self, dropping: DropBP, branch: str, module: nn.Module, is_exit: bool) -> None:
        self.dropping, self.branch, self.module, self.is_exit = dropping, branch, module, is_exit
        self.own = module.__dict__.get("forward")  # as some libraries leave it
        module.forward = self

    @property
    def __wrapped__(self) -> Any:  # so named for `inspect.signature`
        """The module's `forward`; of its class not kept but looked up, or pickles would find this gate."""
        return self.own or type(self.module).forward.__get__(self.module)

    @torch.compiler.disable(recursive=False)  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        dropping = self.dropping
        if dropping._is_at_work() and self.branch in dropping.dropped:
            dropping._note_entry(self.branch, [args, kwargs])
            with _no_gradient():
                return self.__wrapped__(*args, **kwargs)
        result = self.__wrapped__(*args, **kwargs)
        if dropping._is_at_work() and self.is_exit:
            dropping._rescale(self.branch, result)
        return result

    def check(self) -> None:
        if self.module.__dict__.get("forward") is not self:
            raise ValueError(
                f"the forward of a module of {self.branch} was replaced after dropbp.attach: undo that first"
            )

    def remove(self) -> None:
        del self.module.forward
        if self.own:
            self.module.forward = self.own


@contextmanager
def _no_gradient() -> Iterator[None]:
    """`no_grad`, and no half-precision copies left behind: autocast of torch up to 2.10 or so would hand those to a
    kept user of the same weight, which would then get no gradient (pytorch #158232)."""
    is_cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(is_cached)


def _factors(rates: Mapping[str, float], nested: bool) -> dict[str, float]:
    """What gradients of kept branches are multiplied by. In a U-Net they pass the levels around too: the product of
    all factors on the way is 1 / (1 − rate)."""
    kept = {name: 1 - rate for name, rate in rates.items()}
    around = [1.0, *kept.values()] if nested else [1.0] * len(kept)
    return {name: outer / kept[name] for outer, name in zip(around, kept, strict=False)}


def _check(model: nn.Module, branches: Branches) -> None:
    listed = (name for modules in branches.modules.values() for name in modules)
    names = sorted(listed, key=lambda name: name.split("."))
    for outer, inner in pairwise(names):
        if f"{inner}.".startswith(f"{outer}."):
            raise ValueError(f"{outer} and {inner} overlap: keep one of them")
    for name, module in matching(model, names).items():
        if type(module).forward is nn.Module.forward:
            raise ValueError(
                f"{name} is a {type(module).__name__}, which is never called: name the modules inside it"
            )
