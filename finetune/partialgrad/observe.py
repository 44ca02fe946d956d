"""What can be learned about a model by running it before it is wrapped: gradient scores, shared inputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from partialgrad.classes import add_mixin, remove_mixin
from partialgrad.embedding import PartialEmbedding
from partialgrad.gather import Gather
from partialgrad.layers import PartialLayer, Reading
from partialgrad.recurrent import PartialRecurrent
from partialgrad.rules import Choice, Rule, plan
from partialgrad.wrap import is_wrapped

_BLOCK_COLUMNS = 64


def gradient_scores(
    model: nn.Module, rules: Sequence[Rule], losses: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Score columns by the norm of their gradient on target data: sqrt(Σ over losses of ‖∂loss/∂column‖²).

    Gradients are computed for a few columns at a time and dropped; no weight's full gradient ever exists. Of a layer
    that is called several times in a pass, each call counts for itself.

        scores = gradient_scores(model, rules, (loss(model(x), y) for x, y in batches))
        wrap(model, [Rule("*", r=8, select=Scores(scores))])

    Args:
        model: not wrapped; left as it was.
        rules: layers whose columns these would train are scored.
        losses: scalars, computed one by one while this function runs: pass a generator.

    Returns:
        weight name to scores of shape (columns,).

    Raises:
        ValueError: the model is wrapped; a recurrent layer would be scored; nothing was.
    """
    if is_wrapped(model):
        raise ValueError("score the columns before wrap(model, rules), or after unwrap(model)")
    choices = [choice for choice in plan(model, rules).choices if choice.train == "columns"]
    recurrent = [choice.name for choice in choices if choice.mixin is PartialRecurrent]
    if recurrent:
        raise ValueError(
            f"no gradient scores for recurrent layers ({', '.join(recurrent)}): exclude them"
        )
    squares: dict[str, Tensor] = {}
    with _observed(model, choices, squares):
        for loss in losses:
            loss.backward()
    if not squares:
        raise ValueError(
            "no losses: pass a generator of scalars that are computed while it is consumed"
        )
    return {name: total.sqrt() for name, total in squares.items()}


def shared_inputs(
    model: nn.Module, rules: Sequence[Rule], run: Callable[[], Any]
) -> list[list[str]]:
    """Find layers that read the same tensor, for `wrap(model, rules, share=...)`.

    Args:
        model: not wrapped.
        rules: only layers whose columns these would train.
        run: calls the model once, `lambda: model(x)`.

    Returns:
        groups of two or more names.
    """
    seen: dict[str, list[tuple[int, int]]] = {}
    alive: list[Any] = []  # an address counts only as long as the tensor lives
    handles = []
    for choice in plan(model, rules).choices:
        if choice.train == "columns":

            def note(_: nn.Module, inputs: tuple[Any, ...], name: str = choice.name) -> None:
                alive.append(inputs[0])
                seen.setdefault(name, []).append((id(inputs[0]), getattr(inputs[0], "_version", 0)))

            handles.append(choice.layer.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    groups: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for name, inputs in seen.items():
        groups.setdefault(tuple(inputs), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


@contextmanager
def _observed(
    model: nn.Module, choices: Sequence[Choice], squares: dict[str, Tensor]
) -> Iterator[None]:
    """Freeze everything, and let each layer's output gradient add to its score."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    handles = []
    model.requires_grad_(False)
    try:
        for choice in choices:
            assert choice.mixin is not None
            add_mixin(choice.layer, choice.mixin)
            assert isinstance(choice.layer, PartialLayer)
            choice.layer.partial, choice.layer.gather = nn.ModuleDict(), Gather()
            handles.append(choice.layer.register_forward_hook(_scoring(choice, squares)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for choice in choices:
            if isinstance(choice.layer, PartialLayer):
                del choice.layer.partial, choice.layer.gather
                remove_mixin(choice.layer, PartialLayer)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _scoring(choice: Choice, squares: dict[str, Tensor]) -> Callable[..., Tensor]:
    (reading,) = choice.readings
    name = f"{choice.name}.weight".lstrip(".")

    def hook(layer: Any, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        kept = [value.detach() if isinstance(value, Tensor) else value for value in inputs]

        @torch.no_grad()
        def add(dy: Tensor) -> None:
            rows = choice.mixin is PartialEmbedding
            square = _rows(layer, kept[0], dy) if rows else _columns(layer, reading, kept, dy)
            squares[name] = squares[name] + square if name in squares else square

        anchor = torch.zeros((), dtype=y.dtype, device=y.device, requires_grad=True)
        y = y + anchor  # so that there is a gradient although nothing is trained
        y.register_hook(add)
        return y

    return hook


def _columns(layer: Any, reading: Reading, inputs: list[Any], dy: Tensor) -> Tensor:
    """(columns,) squared gradient norms, a block of columns at a time."""
    x, *rest = inputs
    operator = layer._operator(x, *rest)
    squares = []
    for chosen in torch.arange(reading.columns).split(_BLOCK_COLUMNS):
        selected = x.index_select(operator.channel_dim(x), reading.channels(chosen).to(x.device))
        shape = list(layer.weight.shape)
        shape[reading.dim] = len(reading.rows(chosen))
        gradient = operator.weight_gradient(dy, selected.to(dy.dtype), torch.Size(shape))
        block = Reading(reading.weights, reading.dim, len(chosen), reading.groups)
        squares.append(block.by_column(gradient).double().square().sum(1))
    return torch.cat(squares)


def _rows(layer: nn.Embedding, ids: Tensor, dy: Tensor) -> Tensor:
    """(rows,) squared gradient norms; only rows that were used have a gradient."""
    used, place = ids.flatten().unique(return_inverse=True)
    gradient = dy.new_zeros(len(used), dy.shape[-1]).index_add_(0, place, dy.flatten(0, -2))
    squares = dy.new_zeros(layer.num_embeddings, dtype=torch.float64)
    squares[used] = gradient.double().square().sum(1)
    if layer.padding_idx is not None:
        squares[layer.padding_idx] = 0
    return squares
