"""Weights → the one ONNX file that users run: waveform, state and faders in, waveform and state out."""

import copy
import json
from pathlib import Path

import onnx
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, weights_sha256
from truenet_export.graph import build_graph
from truenet_export.seal import seal

FORMAT = "1"


def export(weights: Path, target: Path) -> None:
    """Write the model file of a weights file, in place of `target` only once complete.

    Raises:
        ValueError: no weights, or not ours.
    """
    seal(float_graph(weights), target)


def float_graph(weights: Path, whole_numbers: bool = False) -> onnx.ModelProto:
    """The graph of a weights file in float, with its metadata.

    Args:
        whole_numbers: in the form whose convolutions are to be computed in whole numbers.

    Raises:
        ValueError: no weights, or not ours.
    """
    model, facts = load_weights(weights)
    graph = build_graph(fold_batch_norm(model), whole_numbers)
    for key, value in metadata(model, facts, weights_sha256(weights)).items():
        graph.metadata_props.add(key=key, value=value)
    return graph


def fold_batch_norm(model: StreamingTRUNet) -> StreamingTRUNet:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them."""
    folded = copy.deepcopy(model).eval()
    for block in folded.modules():
        for name, norm in list(block.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                conv_name = name.removesuffix("_norm")
                conv = getattr(block, conv_name)
                transposed = isinstance(conv, nn.ConvTranspose2d)
                setattr(block, conv_name, fuse_conv_bn_eval(conv, norm, transposed))
                setattr(block, name, nn.Identity())
    return folded


def metadata(model: StreamingTRUNet, facts: dict[str, str], sha256: str) -> dict[str, str]:
    """Everything that a runner needs to know, as strings."""
    config = model.config
    scores = {
        name: float(facts[name]) for name in ("pesq_wb", "stoi", "si_sdr_db") if name in facts
    }
    return {
        "truenet_format": FORMAT,
        "name": "TRU-Net with phase-aware β-sigmoid masks",
        "version": facts.get("commit", "unknown"),
        "licence": "Apache-2.0",
        "sample_rate_hz": str(config.sample_rate_hz),
        "hop_samples": str(config.hop_samples),
        "window_samples": str(config.window_samples),
        "latency_samples": str(config.latency_samples),
        "state_size": str(model.state_size),
        "state_layout": json.dumps(model.state_layout),
        "precision": "float32",
        "training_data": facts.get("training_data", "not stated"),
        "hours_seen": facts.get("hours_seen", "0"),
        "weights_sha256": sha256,
        "scores": json.dumps(scores),
    }
