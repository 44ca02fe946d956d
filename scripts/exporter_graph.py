"""The graph that PyTorch's exporter makes of the shipped weights, as it comes, to compare `truenet bench` with.

    pip install onnxscript
    python scripts/exporter_graph.py exporter.onnx
    truenet bench exporter.onnx truenet/models/truenet_float32.onnx truenet/models/truenet.onnx

It keeps the contract of the model file, for up to 128 frames a call.
"""

import argparse
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor

from truenet import features
from truenet.modelfile import SHIPPED_MODEL
from truenet.weights import load_weights, weights_sha256
from truenet_export.builder import OPSET
from truenet_export.graph import INPUTS, OUTPUTS
from truenet_export.model_file import metadata

WEIGHTS = SHIPPED_MODEL.with_suffix(".safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target
    if target.exists():
        parser.error(f"{target} exists: name another file, or remove it")
    model, facts = load_weights(WEIGHTS)
    model.eval().requires_grad_(False)
    features.smooth = smooth_one_block  # the exporter refuses blocks of which there is only one
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames", max=128)
    hop = model.config.hop_samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3 * hop), model.initial_state(2), torch.ones(2, 3)),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: batch, 1: hop * frames}, {0: batch}, {0: batch}),
            input_names=INPUTS,
            output_names=OUTPUTS,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for key, value in metadata(model, facts, weights_sha256(WEIGHTS)).items():
        graph.metadata_props.add(key=key, value=value)
    onnx.save(graph, target)


def smooth_one_block(values: Tensor, coefficient: Tensor, previous: Tensor) -> Tensor:
    """`truenet.features.smooth` for at most 128 frames."""
    steps = torch.arange(values.shape[1])
    ages = steps[:, None] - steps[None, :]
    keep = torch.log1p(-coefficient)
    weights = torch.where(ages >= 0, coefficient * torch.exp(keep * ages.clamp(min=0)), 0.0)
    return weights @ values + torch.exp(keep * (steps + 1))[:, None] * previous[:, None, :]


if __name__ == "__main__":
    main()
