"""The small file's weights and scales as a weights file: to train further under the same grids, and to export again."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx

from truenet.grids import GRIDS, Grids, SignalGrid, WeightGrid
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights, weights_sha256
from truenet_export.activations import IntegerConvolutions, find_convolutions
from truenet_export.model_file import fold_batch_norm
from truenet_export.places import antisymmetric_, places
from truenet_export.quantize import Weight


@dataclasses.dataclass(frozen=True)
class Rounding:
    """How every weight is rounded, and which convolutions are computed in whole numbers, if any."""

    weights: list[Weight]
    bits: dict[str, int]
    rewrite: IntegerConvolutions | None


def write_checkpoint(weights: Path, rounding: Rounding, target: Path) -> None:
    """Write what the small file holds as weights: whole numbers and their grids, batch norms folded.

    Args:
        weights: the .safetensors file that was rounded.
        target: the .safetensors file to write; `truenet export --int8` of it makes the same graph.
    """
    model, facts = load_weights(weights)
    model = fold_batch_norm(model)
    antisymmetric_(model)
    grids = _grids(model, rounding)
    facts = {**facts, GRIDS: grids.to_text(), "made_from": weights_sha256(weights)}
    save_weights(model, target, facts)


def _grids(model: StreamingTRUNet, rounding: Rounding) -> Grids:
    weights: dict[str, WeightGrid] = {}
    signals: dict[str, tuple[SignalGrid, SignalGrid]] = {}
    for weight, (layer, parts) in zip(rounding.weights, places(model), strict=True):
        bits = rounding.bits[weight.name]
        scales = weight.round(bits)[1].reshape(-1)
        weights |= {part.parameter: WeightGrid(bits, part.scales(scales)) for part in parts}
        if rounding.rewrite and weight.name in rounding.rewrite.convolutions:
            convolution = rounding.rewrite.convolutions[weight.name]
            before, after = (convolution.signal, convolution.output)
            signals[layer] = (rounding.rewrite.grids[before], rounding.rewrite.grids[after])
    return Grids(weights, signals)


def stored_rounding(
    path: Path, graph: onnx.ModelProto, found: list[Weight], weights_only: bool
) -> Rounding | None:
    """The rounding that a weights file has in its metadata; None if it has none.

    Args:
        path: of the weights.
        graph: theirs, with its weights `found`.
        weights_only: compute in float with rounded weights.
    """
    model, facts = load_weights(path)
    if GRIDS not in facts:
        return None
    grids = Grids.from_text(facts[GRIDS])
    weights, bits, layers = [], {}, {}
    for weight, (layer, parts) in zip(found, places(model), strict=True):
        scales = np.zeros(weight.rows[-2], np.float32)
        for part in parts:
            part.put_rows(grids.weights[part.parameter].scales, scales)
        bits[weight.name] = grids.weights[parts[0].parameter].bits
        weights.append(dataclasses.replace(weight, scales=scales[:, None]))
        layers[weight.name] = layer
    if weights_only or not grids.signals:
        return Rounding(weights, bits, None)
    convolutions = find_convolutions(graph.graph, weights)
    signals = {}
    for name, convolution in convolutions.items():
        signals[convolution.signal], signals[convolution.output] = grids.signals[layers[name]]
    return Rounding(weights, bits, IntegerConvolutions(convolutions, signals))
