"""Reading autograd's graph: what leads to a tensor, and whether a cut still leaves a way around."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge


def tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, mappings and dataclasses."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors(list(values.values()))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors(value)
    elif is_dataclass(values):
        yield from tensors([getattr(values, field.name) for field in fields(values)])


def nodes(values: Any) -> set[Node]:
    """The nodes that made the tensors in `values` (a leaf's is the one that accumulates its gradient)."""
    return {get_gradient_edge(tensor).node for tensor in tensors(values) if tensor.requires_grad}


def history(starts: Iterable[Node], stops: Collection[Node] = ()) -> set[Node]:
    """All nodes that lead to `starts`, with these; nothing is followed beyond `stops`."""
    waiting, seen = list(starts), set[Node]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            if node not in stops:
                waiting += [before for before, _ in node.next_functions if before is not None]
    return seen


def is_bypassed(entries: set[Node], results: set[Node], parameters: Collection[int]) -> bool:
    """Whether gradients of `results` reach anything on the way to `entries`.

    Args:
        entries: where a branch begins that does not pass gradients on.
        results: what the model returned.
        parameters: `id`s of the model's parameters: a weight used twice is not a way around.
    """
    reached = history(results)
    if reached & entries:
        return True
    return any(
        id(getattr(node, "variable", None)) not in parameters for node in reached & history(entries)
    )
