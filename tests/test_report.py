"""The table of layers adds up to the network."""

import csv
from pathlib import Path

import onnx
import pytest
from conftest import FLOAT32_MODEL

from truenet.config import TRUNetConfig
from truenet.cost import count_macs_per_frame
from truenet_export.quantize import find_weights
from truenet_export.weights_int import WIDTHS


def test_table_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra plot")
    from truenet_export.checkpoint import Rounding
    from truenet_export.int8 import Quantized
    from truenet_export.report import write_report

    graph = onnx.load(FLOAT32_MODEL)
    weights = find_weights(graph.graph)
    errors = {weight.name: {bits: 4.0**-bits for bits in WIDTHS} for weight in weights}
    bits = {weight.name: WIDTHS[i % len(WIDTHS)] for i, weight in enumerate(weights)}
    write_report(Quantized(graph, errors, Rounding(weights, bits, None)), tmp_path / "report")
    with (tmp_path / "report" / "layers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(weights)
    assert sum(int(row["weights"]) for row in rows) == sum(weight.count for weight in weights)
    expected = sum(count_macs_per_frame(TRUNetConfig()).values())
    assert sum(int(row["macs_a_frame"]) for row in rows) == pytest.approx(expected, rel=0.02)
    assert rows[0]["error_db"] == f"{-6.0206 * int(rows[0]['bits']):.1f}"
    assert (tmp_path / "report" / "layers.png").stat().st_size > 10_000
