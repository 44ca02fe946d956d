"""Adapters for huggingface/peft: exact LoRA factors, and the checkpoint format of its PaCA (peft ≥ 0.22), both ways.

A column update is the product of the trained values B (outputs, r) and a fixed selection A (r, inputs) of zeros and
ones, which is a LoRA of rank r. Of a convolution, A selects a tap of a chosen channel: rank r · taps. PaCA of peft
knows linear layers only. Neither format has transposed or grouped convolutions, embedding rows or recurrent layers, and
peft's LoRA (0.21) leaves the dilation out of A's convolution.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from partialgrad.columns import Columns
from partialgrad.layers import all_columns, partial_layers
from partialgrad.rules import Rule
from partialgrad.selection import Given
from partialgrad.wrap import wrap, wrapping_of, write

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PREFIX = "base_model.model."
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def lora_factors(columns: Columns, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A and B whose product is the change of a linear layer's or of a dense convolution's weight.

    Args:
        columns: trained.
        weight: (outputs, inputs, *kernel), the weight that they are of.

    Returns:
        A (rank, inputs, *kernel), zeros and ones, and B (outputs, rank, *ones); the rank is r times the taps.
    """
    delta, kernel = columns.delta.detach(), weight.shape[2:]
    b = delta.flatten(1)
    a = torch.zeros(b.shape[1], weight.shape[1], kernel.numel(), dtype=b.dtype, device=b.device)
    rank = torch.arange(len(a), device=b.device)
    taps = kernel.numel()
    a[rank, columns.indices.repeat_interleave(taps), rank % taps] = 1
    return a.reshape(len(a), weight.shape[1], *kernel), b[(..., *[None] * len(kernel))]


def save_lora(model: nn.Module, folder: str | Path, base_model: str | None = None) -> None:
    """Write a LoRA adapter for peft that equals the trained columns.

    Args:
        model: wrapped; only linear layers and dense convolutions trained, without biases.
        folder: made if missing; gets adapter_config.json and adapter_model.safetensors.
        base_model: name or path of the base, for peft.

    Raises:
        ValueError: something was trained that the format cannot hold.
    """
    tensors, ranks = {}, {}
    for name, weight, columns in _weight_columns(model, (nn.Linear, *_CONVOLUTIONS), "LoRA"):
        a, b = lora_factors(columns, weight)
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b
        ranks[name] = len(a)
    patterns = {
        f"^{re.escape(name)}": r for name, r in ranks.items()
    }  # or "0" would mean "1.0" too
    config = {"peft_type": "LORA", "r": max(ranks.values()), "lora_alpha": max(ranks.values())}
    config |= {"rank_pattern": patterns, "alpha_pattern": patterns, "bias": "none"}
    config |= {"lora_dropout": 0.0, "fan_in_fan_out": False}
    _save(Path(folder), tensors, config | _common(list(ranks), base_model))


def save_peft_paca(model: nn.Module, folder: str | Path, base_model: str | None = None) -> None:
    """Write the trained columns as peft's PaCA does.

    Args:
        model: wrapped; only linear layers trained, all with the same r, without biases.
        folder: made if missing; gets adapter_config.json and adapter_model.safetensors.
        base_model: name or path of the base, for peft.

    Raises:
        ValueError: something was trained that the format cannot hold.
    """
    tensors, ranks = {}, {}
    for name, _, columns in _weight_columns(model, (nn.Linear,), "PaCA"):
        tensors[f"{_PREFIX}{name}.paca_delta"] = columns.delta.detach()
        tensors[f"{_PREFIX}{name}.paca_indices"] = columns.indices
        ranks[name] = len(columns.indices)
    if len(set(ranks.values())) > 1:
        raise ValueError(f"peft's PaCA has one r for all layers, these have {ranks}: use save_lora")
    r = next(iter(ranks.values()))
    config = {"peft_type": "PACA", "r": r, "paca_alpha": r, "random_seed": None}
    _save(Path(folder), tensors, config | _common(list(ranks), base_model))


def load_peft_paca(model: nn.Module, folder: str | Path) -> None:
    """Wrap a base model with the columns of a PaCA adapter of peft.

    Args:
        model: the base, not wrapped.
        folder: with adapter_config.json and adapter_model.safetensors.

    Raises:
        ValueError: another kind of adapter, or one for another model.
    """
    config = json.loads((Path(folder) / _CONFIG).read_text())
    if config.get("peft_type") != "PACA":
        raise ValueError(f"{folder} holds a {config.get('peft_type')} adapter, not a PACA one")
    tensors = load_file(Path(folder) / _WEIGHTS)
    end = ".paca_indices"
    indices = {
        n.removeprefix(_PREFIX).removesuffix(end): t for n, t in tensors.items() if n.endswith(end)
    }
    given = Given({f"{name}.weight": chosen for name, chosen in indices.items()})
    wrap(model, [Rule(name, select=given, types=(nn.Linear,)) for name in indices])
    scale = config["paca_alpha"] / config["r"]
    with torch.no_grad():
        for weight_name, _, columns in all_columns(model):
            name = weight_name.removesuffix(".weight")
            delta = tensors[f"{_PREFIX}{name}.paca_delta"]
            if delta.shape != columns.delta.shape:
                raise ValueError(
                    f"{name}: the adapter has {tuple(delta.shape)}, the model needs {tuple(columns.delta.shape)}"
                )
            order = indices[name].argsort()
            columns.delta.copy_(scale * delta[:, order.to(delta.device)])
    write(model)


def _weight_columns(
    model: nn.Module, types: tuple[type[nn.Module], ...], format: str
) -> list[tuple[str, Tensor, Columns]]:
    wrapping = wrapping_of(model)
    if any(p.requires_grad for n, p in model.named_parameters() if n in wrapping.originals):
        raise ValueError(
            "layers were trained in full, which peft's formats cannot hold: use save_adapter"
        )
    found: list[tuple[str, Tensor, Columns]] = []
    for name, layer in partial_layers(model):
        for part, columns in layer.each():
            special = getattr(layer, "groups", 1) > 1 or any(
                dilation > 1 for dilation in getattr(layer, "dilation", ())
            )
            if not isinstance(layer, types) or part != "weight" or special:
                kinds = ", ".join(kind.__name__ for kind in types)
                raise ValueError(
                    f"{name}.{part}: peft's {format} holds weights of {kinds} without groups "
                    "or dilation, no biases: use save_adapter"
                )
            found.append((name, layer.get_parameter(part), columns))
    return found


def _common(names: list[str], base_model: str | None) -> dict[str, Any]:
    return {
        "target_modules": "|".join(map(re.escape, names)),
        "base_model_name_or_path": base_model,
        "task_type": None,
        "inference_mode": True,
    }


def _save(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {n: t.contiguous().cpu() for n, t in tensors.items()}, folder / _WEIGHTS, {"format": "pt"}
    )
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n")
