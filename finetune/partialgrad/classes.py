"""Give a module another behaviour by giving it another class: its own, with a mixin in front.

The module stays the same object with the same parameters, hooks, name and `isinstance` relations; only methods that
the mixin overrides change, and they reach the module's own by `super()`. Copies and pickles keep the class.
"""

from functools import cache
from typing import Any

from torch import nn


class Mixin(nn.Module):
    """Base of what can be put in front of a module's class. A larger `layer_order` goes further out."""

    layer_order = 0

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Made classes have no importable name, so copies and pickles name their parts."""
        reduced = super().__reduce_ex__(2)
        return _blank, (own_class(self), _mixins(self)), *tuple(reduced)[2:]


def add_mixin(module: nn.Module, mixin: type[Mixin]) -> None:
    """Put a mixin in front of the module's class."""
    mixins = {*_mixins(module), mixin}
    module.__class__ = _combined(own_class(module), _ordered(mixins))


def remove_mixin(module: nn.Module, mixin: type[Mixin]) -> None:
    """Take a mixin away again."""
    mixins = {other for other in _mixins(module) if not issubclass(other, mixin)}
    module.__class__ = _combined(own_class(module), _ordered(mixins))


def own_class(module: nn.Module) -> Any:
    """The class without mixins. One that others made of it since, as `fully_shard` does, is its own, mixins and all."""
    return vars(type(module)).get("_own_class", type(module))


def _mixins(module: nn.Module) -> tuple[type[Mixin], ...]:
    return vars(type(module)).get("_mixins", ())


def _ordered(mixins: set[type[Mixin]]) -> tuple[type[Mixin], ...]:
    return tuple(sorted(mixins, key=lambda mixin: -mixin.layer_order))


@cache
def _combined(own: Any, mixins: tuple[type[Mixin], ...]) -> type[nn.Module]:
    if not mixins:
        return own
    attributes = {"_own_class": own, "_mixins": mixins, "__module__": own.__module__}
    return type(own.__name__, (*mixins, own), attributes)


def _blank(own: Any, mixins: tuple[type[Mixin], ...]) -> nn.Module:
    combined = _combined(own, mixins)
    return combined.__new__(combined)
