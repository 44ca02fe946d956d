"""Give a model trained columns, and take them away again.

    print(plan(model, rules))
    wrap(model, rules)
    optimizer = PartialAdamW(model, lr=1e-3)

`wrap` changes the model in place: it freezes everything, then gives chosen layers another class (`classes.py`) with
trained columns. Names, hooks and the state dict stay; the state dict holds the trained weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from partialgrad.classes import add_mixin, remove_mixin
from partialgrad.columns import Columns, Grid
from partialgrad.fastpath import leave_fast_path, take_fast_path
from partialgrad.gather import Gather
from partialgrad.layers import PartialLayer, Reading, all_columns, partial_layers
from partialgrad.rules import Choice, Plan, Rule, plan, tied_parameters
from partialgrad.selection import check_indices
from partialgrad.sharding import has_shards, let_go, part_of, whole
from partialgrad.watch import forget_optimizers, watch_optimizers

_STATE = "_partialgrad"


@dataclass
class Wrapping:
    """What `wrap` did, kept on the model.

    Attributes:
        rules: as given.
        requires_grad: parameter name to whether it was trained before.
        originals: pretrained values, by name, of parameters that are trained in full and of running statistics;
            while disabled, the trained ones.
        enabled: whether trained values are in use.
        base_sha256: hash of the pretrained weights, once they are quantized and cannot be hashed any more.
    """

    rules: tuple[str, ...]
    requires_grad: dict[str, bool]
    originals: dict[str, Tensor] = field(default_factory=dict)
    enabled: bool = True
    base_sha256: str | None = None


def wrap(model: nn.Module, rules: Sequence[Rule], share: Sequence[Sequence[str]] = ()) -> Plan:
    """Train only what the rules name.

    Args:
        model: changed in place. Move it to its device and precision first.
        rules: the first that matches a layer holds; layers without a rule are frozen.
        share: groups of names of layers that read the same tensor (see `shared_inputs`); each group gets the same
            columns, gathers them once and keeps them once.

    Returns:
        the plan that was carried out.

    Raises:
        ValueError: the model is wrapped already, or in a DistributedDataParallel or FullyShardedDataParallel; a rule
            fits nothing; layers that cannot share.
    """
    if is_wrapped(model):
        raise ValueError("the model is wrapped already: call unwrap(model) or merge(model) first")
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules()):
        raise ValueError(
            "wrap the model first, then make the DistributedDataParallel: it knows only the parameters of its beginning"
        )
    if any(hasattr(module, "_fsdp_wrapped_module") for module in model.modules()):
        raise ValueError(
            "FullyShardedDataParallel makes one flat tensor of the weights, whose columns cannot be trained: use "
            "torch.distributed.fsdp.fully_shard instead, before or after wrap"
        )
    let_go(model)
    made = plan(model, rules)
    groups = _groups(made, share)
    chosen = {id(group): _select(group) for group in groups}
    wrapping = Wrapping(
        tuple(map(repr, rules)), {n: p.requires_grad for n, p in model.named_parameters()}
    )
    wrapping.originals = {n: value.detach().clone() for n, value in _free(model, made)}
    model.requires_grad_(False)
    for choice in made.choices:
        if choice.train == "all":
            for parameter in choice.layer.parameters(recurse=False):
                parameter.requires_grad_(True)
        elif choice.train == "bias":
            _attach(choice, Gather())
    for group in groups:
        gather = Gather(shared=len(group) > 1 or any(len(r.weights) > 1 for r in group[0].readings))
        for choice in group:
            _attach(choice, gather, chosen[id(group)])
    leave_fast_path(model, PartialLayer)
    object.__setattr__(model, _STATE, wrapping)
    watch_optimizers(model)
    return made


def is_wrapped(model: nn.Module) -> bool:
    """Whether the model, or a part of it, has been wrapped."""
    return any(
        hasattr(module, _STATE) or isinstance(module, PartialLayer) for module in model.modules()
    )


def wrapping_of(model: nn.Module) -> Wrapping:
    """What `wrap` did to this model.

    Raises:
        ValueError: it did nothing.
    """
    wrapping = getattr(model, _STATE, None)
    if not isinstance(wrapping, Wrapping):
        raise ValueError(
            f"this {type(model).__name__} is not wrapped: call wrap(model, rules) first, "
            "and pass that same model (of a DistributedDataParallel, its .module)"
        )
    return wrapping


def write(model: nn.Module) -> None:
    """Bring all weights up to date. Optimizer steps, forward passes and state dicts do it."""
    for _, weight, columns in all_columns(model):
        columns.write(weight)


def keep_on_grid(model: nn.Module, grids: Mapping[str, tuple[Tensor, int]]) -> None:
    """Round trained columns in the weights, so that a quantized model is trained as what it will be.

    The pretrained weights lie on the grids already. Differences stay in floating point and their gradient is that of
    the rounded weight (straight-through, arXiv 1308.3432); `save_adapter` writes whole steps.

    Args:
        model: wrapped.
        grids: weight name to scales, which broadcast to the weight, and the largest whole number.
    """
    for name, _, columns in all_columns(model):
        if name in grids and columns.original is not None:
            scales, largest = grids[name]
            if scales.shape[columns.dim] > 1:
                scales = scales.index_select(columns.dim, columns.indices)
            columns.grid = Grid(scales.to(columns.delta), largest)


def disable(model: nn.Module) -> None:
    """Put the pretrained values back, to the bit, and keep the trained ones for `enable`."""
    _switch(model, False)


def enable(model: nn.Module) -> None:
    """Put the trained values back after `disable`."""
    _switch(model, True)


def unwrap(model: nn.Module) -> None:
    """Undo `wrap`: classes, flags, and to the bit the weights.

    Raises:
        ValueError: the base is quantized or sharded.
    """
    _refuse_changed(model)
    disable(model)
    _restore(model)


def merge(model: nn.Module) -> None:
    """Undo `wrap` but keep the trained weights.

    Raises:
        ValueError: a trained weight is shared with another layer, which merging would change too; the base is
            quantized or sharded.
    """
    _refuse_changed(model)
    enable(model)
    write(model)
    tied = tied_parameters(model)
    side = [(n, w, c) for n, w, c in all_columns(model) if c.original is None]
    for name, weight, _ in side:
        if id(weight) in tied:
            raise ValueError(f"{name} is tied to another layer's weight: untie them before merging")
    with torch.no_grad():
        for _, weight, columns in side:
            weight.index_add_(columns.dim, columns.indices, columns.delta.to(weight.dtype))
    _restore(model)


def _refuse_changed(model: nn.Module) -> None:
    quantized = wrapping_of(model).base_sha256 is not None
    if quantized or has_shards(model):
        raise ValueError(
            f"the base is {'quantized' if quantized else 'sharded'}: save_adapter, load the original base, "
            "load_adapter there, then merge"
        )


@torch.no_grad()
def _switch(model: nn.Module, enabled: bool) -> None:
    wrapping = wrapping_of(model)
    if enabled == wrapping.enabled:
        return
    let_go(model)
    for _, layer in partial_layers(model):
        layer.switch(enabled)
    values = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, stored in wrapping.originals.items():
        current = values[name].detach().clone()
        values[name].copy_(part_of(stored, values[name]))
        wrapping.originals[name] = current
    wrapping.enabled = enabled


def _restore(model: nn.Module) -> None:
    wrapping = wrapping_of(model)
    for _, layer in list(partial_layers(model)):
        del layer.partial, layer.gather
        remove_mixin(layer, PartialLayer)
    take_fast_path(model)
    forget_optimizers(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wrapping.requires_grad[name])
        parameter.grad = None
    object.__delattr__(model, _STATE)


def _free(model: nn.Module, made: Plan) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are trained in full, and running statistics, which change in training mode."""
    for choice in made.choices:
        if choice.train == "all":
            for name, parameter in choice.layer.named_parameters(recurse=False):
                yield f"{choice.name}.{name}".lstrip("."), parameter
    for module_name, module in model.named_modules():
        if isinstance(module, _NormBase):
            for name, buffer in module.named_buffers(recurse=False):
                yield f"{module_name}.{name}".lstrip("."), buffer


def _groups(made: Plan, share: Sequence[Sequence[str]]) -> list[list[Choice]]:
    """Layers with trained columns, those that share their input together."""
    choices = {choice.name: choice for choice in made.choices if choice.train == "columns"}
    groups = []
    for names in share:
        if isinstance(names, str):
            raise ValueError(f"share={share!r}: give groups of names, [['q', 'k', 'v']]")
        if unknown := [name for name in names if name not in choices]:
            raise ValueError(
                f"{', '.join(unknown)} cannot share: no layer of that name has trained columns, or it is in two groups"
            )
        group = [choices.pop(name) for name in names]
        if len({(c.counts, tuple((r.columns, r.groups) for r in c.readings)) for c in group}) > 1:
            raise ValueError(f"{', '.join(names)} cannot share: their inputs or their r differ")
        if group:
            groups.append(group)
    return groups + [[choice] for choice in choices.values()]


def _select(group: list[Choice]) -> list[Tensor]:
    """The chosen columns for each reading of the layers of a group."""
    chosen = []
    for number, count in enumerate(group[0].counts):
        names, weights = [], []
        for choice in group:
            reading = choice.readings[number]
            for weight in reading.weights:
                names.append(f"{choice.name}.{weight}".lstrip("."))
                weights.append(
                    reading.by_column(whole(choice.layer.get_parameter(weight).detach()))
                )
        indices = group[0].rule.select(names, weights, count)
        columns = group[0].readings[number].columns
        chosen.append(check_indices(indices, columns, count, names[0]))
    return chosen


def _attach(choice: Choice, gather: Gather, chosen: Sequence[Tensor] = ()) -> None:
    layer, mixin = choice.layer, choice.mixin
    assert mixin is not None
    columns = {}
    for reading, indices in zip(choice.readings if chosen else (), chosen, strict=True):
        for weight in reading.weights:
            columns[weight] = _columns(
                layer.get_parameter(weight), reading, indices, not choice.side
            )
    for name in choice.biases:
        bias = layer.get_parameter(name)
        columns[name] = Columns(bias, torch.arange(len(bias)), 0, live=not choice.side)
    add_mixin(layer, mixin)
    assert isinstance(layer, PartialLayer)
    layer.partial, layer.gather = nn.ModuleDict(columns), gather


def _columns(weight: nn.Parameter, reading: Reading, indices: Tensor, live: bool) -> Columns:
    return Columns(weight, reading.rows(indices), reading.dim, reading.channels(indices), live)
