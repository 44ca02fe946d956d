"""A table and a picture of every weight: bits, bytes, multiply-accumulates, and the error that it contributes."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from truenet_export.int8 import Quantized
from truenet_export.quantize import Weight
from truenet_export.weights_int import packed_bytes

_COLOURS = {4: "#b5452c", 6: "#d9912b", 7: "#5b8fb9", 8: "#1d4e7a"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the table. `error_db` is the power of the change of the voice, relative to the voice."""

    layer: str
    weights: int
    bits: int
    bytes: int
    macs_a_frame: int
    error_db: float


def layers(quantized: Quantized) -> list[Layer]:
    """Every weight in the order of the graph."""
    weights, bits = quantized.rounding.weights, quantized.rounding.bits
    positions = _positions(quantized.graph, weights)
    return [
        Layer(
            f"{number:02} {weight.operator} {'×'.join(map(str, weight.values.shape))}",
            weight.count,
            bits[weight.name],
            packed_bytes(weight.count, bits[weight.name]),
            weight.count * positions[weight.name],
            10 * math.log10(quantized.errors[weight.name][bits[weight.name]] + 1e-30),
        )
        for number, weight in enumerate(weights, start=1)
    ]


def write_report(quantized: Quantized, folder: Path) -> None:
    """Write layers.csv and layers.png into a folder, which is made if it does not exist.

    Raises:
        ValueError: the widths were given with the weights, so no errors were measured.
    """
    if not quantized.errors:
        raise ValueError("these weights have their scales fixed: a report needs --calibration")
    rows = layers(quantized)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "layers.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in dataclasses.fields(Layer)])
        table.writeheader()
        for row in rows:
            table.writerow({**dataclasses.asdict(row), "error_db": f"{row.error_db:.1f}"})
    _draw(rows, folder / "layers.png")


def _positions(graph: onnx.ModelProto, weights: list[Weight]) -> dict[str, int]:
    """How often a frame uses each weight: the layer's outputs over those that it makes at a position."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in dict.fromkeys(weight.output for weight in weights)
    )
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), None, ["CPUExecutionProvider"]
    )
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    names = list(dict.fromkeys(weight.output for weight in weights))
    outputs = session.run(
        names,
        {
            "audio": np.zeros((1, int(facts["hop_samples"])), np.float32),
            "state": np.zeros((1, int(facts["state_size"])), np.float32),
            "faders": np.ones((1, 3), np.float32),
        },
    )
    sizes = dict(zip(names, (output.size for output in outputs), strict=True))
    return {weight.name: sizes[weight.output] // weight.outputs for weight in weights}


def _draw(rows: list[Layer], path: Path) -> None:
    figure = Figure(figsize=(12, 0.28 * len(rows) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    names = [row.layer for row in rows]
    colours = [_COLOURS[row.bits] for row in rows]
    columns = {
        "bytes": [row.bytes for row in rows],
        "multiply-accumulates a frame": [row.macs_a_frame for row in rows],
        "error: dB below the voice": [-row.error_db for row in rows],
    }
    axes = figure.subplots(1, len(columns), sharey=True)
    for axis, (title, values) in zip(axes, columns.items(), strict=True):
        axis.barh(names, values, color=colours)
        axis.set_title(title, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    for bits in sorted({row.bits for row in rows}):
        axes[1].barh([names[0]], [0], color=_COLOURS[bits], label=f"{bits} bits")
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=120)
