"""What was trained, as one small safetensors file: indices and differences, bound to the base weights by a hash.

Tensors: `<weight>:columns` (chosen columns) and `<weight>:delta` (trained minus pretrained; whole numbers where there
is a `<weight>:scale` to multiply them with), `<bias>:delta`, and `<name>:value` of what was trained in full and of
running statistics, where they changed. Metadata: `format`,
`base_sha256`, `rules`, `layers` (JSON: how each layer is trained), `share` (JSON: layers that read one tensor).
"""

import ctypes
import glob
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from partialgrad.columns import Columns
from partialgrad.layers import all_columns, partial_layers
from partialgrad.rules import Rule
from partialgrad.selection import Given, Random
from partialgrad.sharding import has_shards, part_of, whole
from partialgrad.wrap import is_wrapped, wrap, wrapping_of, write

_FORMAT = "partialgrad 1"


def save_adapter(model: nn.Module, path: str | Path, compact: bool = False) -> None:
    """Write what was trained. Of a sharded model, all ranks must call this together, each with a path of its own.

    Args:
        model: wrapped.
        path: of the file.
        compact: differences of weights in 8 bits, off by 1/254 of the largest of their column at most, all else in 16
            (scales where that is exact): a quarter of the bytes. Differences on a grid (`keep_on_grid`) are whole steps
            in any case.

    Raises:
        ValueError: the model is not wrapped, or its adapter is disabled.
    """
    wrapping = wrapping_of(model)
    if not wrapping.enabled:
        raise ValueError("the adapter is disabled: call enable(model) before saving")
    values = dict(model.named_parameters()) | dict(model.named_buffers())
    tensors = {
        f"{name}:value": values[name]
        for name, original in wrapping.originals.items()
        if not torch.equal(whole(values[name]), whole(original))
    }
    for name, layer in partial_layers(model):
        readings = {weight: r for r in layer.readings(layer) for weight in r.weights}
        for weight, columns in layer.each():
            full_name = f"{name}.{weight}".lstrip(".")
            codes, scale = _coded(columns, compact)
            tensors[f"{full_name}:delta"] = codes
            if scale is not None:
                tensors[f"{full_name}:scale"] = scale
            if weight in readings:
                tensors[f"{full_name}:columns"] = chosen_columns(columns, readings[weight].groups)
    metadata = {
        "format": _FORMAT,
        "base_sha256": base_hash(model),
        "rules": json.dumps(wrapping.rules),
        "layers": json.dumps(_layers(model)),
        "share": json.dumps(_shared(model)),
    }
    copies = {n: whole(t).detach().contiguous().clone() for n, t in tensors.items()}
    if compact:
        copies = {n: _halved(t, exactly=n.endswith(":scale")) for n, t in copies.items()}
    Path(path).write_bytes(save(copies, metadata))  # save_file lets nobody but the owner read it


def load_adapter(model: nn.Module, path: str | Path) -> None:
    """Wrap a base model as the adapter's was, and put the trained values in. Then train on, evaluate or `merge`.

    Raises:
        ValueError: the model is wrapped, the file is no adapter, or it was trained on another base.
    """
    if is_wrapped(model):
        raise ValueError("the model is wrapped already: call unwrap(model) or merge(model) first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, as adapters are: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"{path} is not an adapter that this version reads: its format is "
            f"{metadata.get('format')!r}, not {_FORMAT!r}"
        )
    if base_hash(model) != metadata["base_sha256"]:
        raise ValueError(
            f"{path} was trained on another base: load the weights with base_sha256 "
            f"{metadata['base_sha256'][:12]}… (these have {base_hash(model)[:12]}…)"
        )
    rules = _rules(json.loads(metadata["layers"]), tensors)
    wrap(model, rules, json.loads(metadata["share"]))
    wrapping_of(model).rules = tuple(json.loads(metadata["rules"]))
    _fill(model, tensors)


def base_hash(model: nn.Module) -> str:
    """SHA-256 of names, types, shapes and pretrained values of all parameters, wrapped or not."""
    if is_wrapped(model) and (known := wrapping_of(model).base_sha256) is not None:
        return known
    originals = wrapping_of(model).originals if is_wrapped(model) else {}
    columns = {id(weight): columns for _, weight, columns in all_columns(model)}
    trained = {id(own.delta) for _, _, own in all_columns(model)}  # two for a tied weight
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if id(parameter) in trained:
            continue
        value = whole(originals.get(name, parameter)).detach()
        own = columns.get(id(parameter))
        if own is not None and own.original is not None:
            value = value.index_copy(own.dim, own.indices, own.original)
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def chosen_columns(columns: Columns, groups: int) -> Tensor:
    """The chosen columns of a weight, within a group."""
    return columns.channels[: len(columns.channels) // groups]


def _coded(columns: Columns, compact: bool) -> tuple[Tensor, Tensor | None]:
    """The differences; as whole numbers with the scales that they are multiplied with."""
    if columns.grid is not None:
        return columns.steps().to(torch.int8), columns.grid.scales
    delta = whole(columns.delta).detach()
    if not compact or delta.dim() < 2:
        return columns.delta, None
    others = [dim for dim in range(delta.dim()) if dim != columns.dim]
    scale = delta.abs().amax(others, keepdim=True) / 127
    codes = torch.where(scale > 0, delta / scale, 0).round().clamp(-127, 127)
    return codes.to(torch.int8), scale


def _halved(tensor: Tensor, exactly: bool) -> Tensor:
    """In 16 bits; if it must be exact, only where it is (the scales of a grid may be)."""
    if tensor.dtype == torch.int8:
        return tensor
    half = tensor.to(torch.float16 if tensor.is_floating_point() else torch.int16)
    return half if not exactly or torch.equal(half.to(tensor.dtype), tensor) else tensor


def _bytes(value: Tensor) -> Any:
    flat = value.cpu().contiguous().flatten()
    memory = (ctypes.c_char * flat.nbytes).from_address(flat.data_ptr()) if flat.nbytes else b""
    return bytes(memory)


def _layers(model: nn.Module) -> dict[str, dict[str, Any]]:
    layers: dict[str, dict[str, Any]] = {}
    quantized = wrapping_of(model).base_sha256 is not None
    for name, layer in partial_layers(model):
        parts = dict(layer.each())
        changed = quantized or has_shards(model)
        layers[name] = {
            "train": "columns" if any(part.startswith("weight") for part in parts) else "bias",
            "bias": any(part.startswith("bias") for part in parts),
            "side": any(columns.original is None for columns in parts.values()) and not changed,
        }
    for name, module in model.named_modules():
        own = [f"{name}.{n}".lstrip(".") for n, _ in module.named_parameters(recurse=False)]
        if name not in layers and any(n in wrapping_of(model).originals for n in own):
            layers[name] = {"train": "all", "bias": False, "side": False}
    return layers


def _shared(model: nn.Module) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for name, layer in partial_layers(model):
        groups.setdefault(id(layer.gather), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _rules(layers: dict[str, dict[str, Any]], tensors: dict[str, Tensor]) -> list[Rule]:
    end = ":columns"
    given = Given({n.removesuffix(end): t for n, t in tensors.items() if n.endswith(end)})
    return [
        Rule(
            glob.escape(name),
            select=given if how["train"] == "columns" else Random(),
            train=how["train"],
            bias=how["bias"],
            side=how["side"],
        )
        for name, how in layers.items()
    ]


@torch.no_grad()
def _fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    values = dict(model.named_parameters()) | dict(model.named_buffers())
    for name in wrapping_of(model).originals:
        if f"{name}:value" in tensors:
            values[name].copy_(part_of(tensors[f"{name}:value"], values[name]))
    for name, _, columns in all_columns(model):
        delta, scale = tensors[f"{name}:delta"], tensors.get(f"{name}:scale")
        columns.delta.copy_(delta if scale is None else delta.to(columns.delta) * scale)
    write(model)
