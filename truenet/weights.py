"""Weights as one .safetensors file: tensors, the model's config and where they come from; nothing to unpickle."""

import hashlib
import json
import os
from pathlib import Path

import safetensors
import safetensors.torch

from truenet.config import TRUNetConfig, from_dict, to_dict
from truenet.grids import GRIDS, Grids, plain_state, remove_batch_norms
from truenet.streaming import StreamingTRUNet

# Not true any more of what is made of a run's weights.
FACTS_OF_ONE_RUN = ("pesq_wb", "stoi", "si_sdr_db", "seed")
_FORMAT = "truenet-weights-1"


def save_weights(model: StreamingTRUNet, path: Path, metadata: dict[str, str]) -> None:
    """Write a model's weights, in place of `path` only once complete.

    Args:
        model: its config is stored beside the tensors.
        path: a .safetensors file.
        metadata: facts on their origin (hours_seen, training_data, commit...). Weights that have
            "grids" here are rounded to them, and stored as whole numbers.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in plain_state(model).items()}
    if GRIDS in metadata:
        for name, grid in Grids.from_text(metadata[GRIDS]).weights.items():
            tensors[name] = grid.codes(tensors[name])
    facts = {**metadata, "format": _FORMAT, "config": json.dumps(to_dict(model.config))}
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(
        safetensors.torch.save(tensors, facts)
    )  # save_file lets nobody else read it
    os.replace(temporary, path)


def load_weights(path: Path) -> tuple[StreamingTRUNet, dict[str, str]]:
    """Read a model in evaluation mode, and the facts stored with it.

    Weights of whole numbers come as floats of the same value; to train them as such, `grids.attach`.

    Raises:
        ValueError: missing, damaged, or not weights of this project; tensors that do not fit the config.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"no weights at {path}") from error
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no readable .safetensors file ({error}); download or copy it again"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"{path} holds no truenet weights (its format is {metadata.get('format')!r})"
        )
    model = StreamingTRUNet(from_dict(TRUNetConfig, json.loads(metadata["config"]), str(path)))
    if GRIDS in metadata:
        remove_batch_norms(model)
        for name, grid in Grids.from_text(metadata[GRIDS]).weights.items():
            tensors[name] = grid.values(tensors[name])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: the tensors do not fit its config: {error}") from error
    return model.eval(), metadata


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, by which model files name their origin."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
