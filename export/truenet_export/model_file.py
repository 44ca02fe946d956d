"""Weights → the one ONNX file that users run: waveform, state and faders in, waveform and state out."""

import copy
import json
import tempfile
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, weights_sha256
from truenet_export.operators import translations
from truenet_export.seal import seal

OPSET = 18  # DFT came with 17; 18 is read by every onnxruntime since 1.14
FORMAT = "1"
INPUTS = ("audio", "state", "faders")
OUTPUTS = ("enhanced", "next_state")


def export(weights: Path, target: Path) -> None:
    """Write the model file of a weights file, in place of `target` only once complete.

    Raises:
        ValueError: no weights, or not ours.
    """
    seal(float_graph(weights), target)


def float_graph(weights: Path) -> onnx.ModelProto:
    """The graph of a weights file in float, with its metadata.

    Raises:
        ValueError: no weights, or not ours.
    """
    model, facts = load_weights(weights)
    graph = clean(trace(fold_batch_norm(model)))
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


def trace(model: StreamingTRUNet) -> onnx.ModelProto:
    """The exporter's graph, with any number of frames and rows."""
    model.features.smoother = torch.ops.truenet.smooth
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    hop = model.config.hop_samples
    example = (torch.zeros(2, 3 * hop), model.initial_state(2), torch.ones(2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            model.requires_grad_(False),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: batch, 1: hop * frames}, {0: batch}, {0: batch}),
            input_names=INPUTS,
            output_names=OUTPUTS,
            custom_translation_table=translations(),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return program.model_proto


def clean(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded (the exporter reorders GRU gates at run time), source traces removed, short names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        graph = onnx.load(path)
    for index, node in enumerate(graph.graph.node):
        node.doc_string, node.name = "", f"n{index}"  # onnxruntime 1.20 takes no nameless nodes
        del node.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del graph.graph.value_info[:], graph.metadata_props[:], graph.graph.metadata_props[:]
    _shorten_names(graph.graph)
    used = {node.domain for node in graph.graph.node}
    kept = [opset for opset in graph.opset_import if opset.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(kept)
    graph.producer_name, graph.producer_version, graph.doc_string = "truenet", "", ""
    graph.graph.name = "truenet"
    return graph


def _shorten_names(graph: onnx.GraphProto) -> None:
    kept = {"", *INPUTS, *OUTPUTS}
    short: dict[str, str] = {}

    def rename(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"v{len(short)}")

    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)
    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]


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
