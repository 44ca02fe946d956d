"""Which parts of a model may be dropped, said by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Branches:
    """Parts of a model that a residual or skip connection bypasses.

    Attributes:
        modules: for each branch, the names of its modules in the order of the forward pass; the last one hands its
            result to the place where branch and bypass meet.
        nested: the branches are the levels of a U-Net, outermost first: a level goes together with all deeper ones.
    """

    modules: Mapping[str, tuple[str, ...]]
    nested: bool = False


class Branch(nn.Module):
    """Marks a function or module as a branch where a model is written: `x + self.branch(x)`.

    Args:
        function: what the branch computes. A method of the model keeps the model's parameter names as they are.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        return self.function(*args, **kwargs)


def wrapped(model: nn.Module) -> Branches:
    """All modules that were marked with `Branch`.

    Raises:
        ValueError: there is none.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, Branch)]
    if not names:
        raise ValueError("no module is wrapped in dropbp.Branch: wrap some, or use named or found")
    return Branches({name: (name,) for name in names})


def named(model: nn.Module, *patterns: str) -> Branches:
    """Every module that a pattern matches, each a branch of its own.

    Args:
        model: where to look.
        patterns: names as in `model.named_modules()`; within a part between two dots `*`, `?` and `[…]` match as in
            file names: "layers.*.self_attn".

    Raises:
        ValueError: a pattern matches nothing.
    """
    return Branches({name: (name,) for name in matching(model, patterns)})


def levels(model: nn.Module, bypassed: Sequence[Sequence[str]]) -> Branches:
    """The levels of a U-Net, named "level 0", "level 1", …

    Args:
        model: the U-Net.
        bypassed: for each skip connection, outermost first, patterns of the modules that it bypasses, in forward
            order. What a deeper skip bypasses too may be repeated or left out.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left for a level.
    """
    found = [list(matching(model, patterns)) for patterns in bypassed]
    modules = {}
    for level, names in enumerate(found):
        deeper = {name for names in found[level + 1 :] for name in names}
        modules[f"level {level}"] = tuple(name for name in names if name not in deeper)
        if not modules[f"level {level}"]:
            raise ValueError(
                f"level {level} bypasses nothing that level {level + 1} does not: "
                "list the skips from the outermost to the deepest"
            )
    return Branches(modules, nested=True)


def matching(model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Module]:
    """Modules by name, in the order of the patterns.

    Raises:
        ValueError: a pattern matches nothing.
    """
    modules = dict(model.named_modules())
    del modules[""]
    matches = {}
    for pattern in patterns:
        names = [name for name in modules if _matches(name, pattern)]
        if not names:
            near = get_close_matches(pattern, modules, n=3, cutoff=0.3)
            raise ValueError(
                f"no module is called {pattern!r}; the nearest names are {', '.join(near) or 'none'}. "
                "See model.named_modules()"
            )
        matches.update({name: modules[name] for name in names})
    return matches


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
