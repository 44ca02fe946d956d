"""Adapters for huggingface/peft: exact LoRA factors, and the checkpoint format of its PaCA (peft ≥ 0.22), both ways.

A column update is the product of the trained values B (outputs, r) and a fixed selection A (r, inputs) of zeros and
ones, which is a LoRA of rank r. Both formats know linear layers only.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from partialgrad.columns import Columns
from partialgrad.layers import PartialLinear
from partialgrad.rules import Rule
from partialgrad.selection import Given
from partialgrad.wrap import all_columns, partial_layers, wrap, wrapping_of, write

_PREFIX = "base_model.model."
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def lora_factors(columns: Columns, inputs: int) -> tuple[Tensor, Tensor]:
    """A (r, inputs) and B (outputs, r) with B A equal to the change of a linear layer's weight."""
    r = len(columns.indices)
    a = torch.zeros(r, inputs, dtype=columns.delta.dtype, device=columns.delta.device)
    a[torch.arange(r), columns.indices] = 1
    return a, columns.delta.detach()


def save_lora(model: nn.Module, folder: str | Path, base_model: str | None = None) -> None:
    """Write a LoRA adapter for peft that equals the trained columns.

    Args:
        model: wrapped; only linear layers trained, without biases.
        folder: made if missing; gets adapter_config.json and adapter_model.safetensors.
        base_model: name or path of the base, for peft.

    Raises:
        ValueError: something was trained that the format cannot hold.
    """
    tensors, ranks = {}, {}
    for name, layer, columns in _linear_columns(model):
        a, b = lora_factors(columns, layer.in_features)
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b
        ranks[name] = len(a)
    patterns = {re.escape(name): r for name, r in ranks.items()}
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
    for name, _, columns in _linear_columns(model):
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


def _linear_columns(model: nn.Module) -> list[tuple[str, nn.Linear, Columns]]:
    wrapping_of(model)
    if any(
        p.requires_grad for n, p in model.named_parameters() if n in wrapping_of(model).originals
    ):
        raise ValueError(
            "layers were trained in full, which peft's formats cannot hold: use save_adapter"
        )
    found: list[tuple[str, nn.Linear, Columns]] = []
    for name, layer in partial_layers(model):
        for part, columns in layer.each():
            if not isinstance(layer, PartialLinear) or part != "weight":
                raise ValueError(
                    f"{name}.{part}: peft's formats hold linear weights only: use save_adapter"
                )
            assert isinstance(layer, nn.Linear)
            found.append((name, layer, columns))
    return found


def _common(names: list[str], base_model: str | None) -> dict[str, Any]:
    return {
        "target_modules": names,
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
