"""Weights → the small model file: whole-number weights, chosen by a scan to fit a size."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import soundfile
import soxr

from truenet.verification import CHECK_RECORDING
from truenet_export.activations import (
    MOST_BITS,
    IntegerConvolutions,
    find_convolutions,
    measure_ranges,
    signal_grid,
)
from truenet_export.checkpoint import Rounding, stored_rounding
from truenet_export.model_file import float_graph
from truenet_export.quantize import Weight, find_weights, quantize
from truenet_export.seal import seal
from truenet_export.widths import Errors, Recordings, fit, read_recordings, scan

LARGEST_BYTES = 370_688  # 362 KiB, the size that the TRU-Net paper states


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What was decided: the float graph, the error of each of its weights by width (none where the widths were
    given), and the rounding chosen."""

    graph: onnx.ModelProto
    errors: Errors
    rounding: Rounding


def export_int8(
    weights: Path,
    target: Path,
    calibration: Path | None = None,
    largest_bytes: int = LARGEST_BYTES,
    weights_only: bool = False,
    progress: Callable[[int, int], None] = lambda done, all_of_them: None,
) -> Quantized:
    """Write the model file of a weights file with whole-number weights.

    Args:
        weights: a .safetensors file. Its own grids hold if it has some and there is no `calibration`.
        target: the .onnx file to write.
        calibration: folder of noisy recordings that decide which weights get fewer bits and how
            large signals become; the recording in the package if left out.
        largest_bytes: of the whole file.
        weights_only: compute in float with rounded weights, and not the wide convolutions in whole
            numbers.
        progress: told of each weight that was scanned, and how many there are.

    Raises:
        ValueError: weights that are not ours, a layer that would stay in float, a calibration
            folder that is empty or silent, or a size that cannot be reached.
    """
    recordings = read_recordings(calibration) if calibration else _check_recording()
    graph = float_graph(weights, whole_numbers=True)
    found = find_weights(graph.graph)
    for entry in graph.metadata_props:
        if entry.key == "precision":
            entry.value = "int8"
    errors: Errors = {}
    rounding = None if calibration else stored_rounding(weights, graph, found, weights_only)
    if rounding is None:
        errors = scan(graph, found, recordings, lambda done: progress(done, len(found)))
        rewrite = None if weights_only else _integer_convolutions(graph, found, recordings)
        most_bits = dict.fromkeys(rewrite.weights, MOST_BITS) if rewrite else {}
        bits = fit(graph, found, errors, largest_bytes, rewrite, most_bits)
        rounding = Rounding(found, bits, rewrite)
    small = quantize(graph, rounding.weights, rounding.bits, rounding.rewrite)
    widths = _by_width(rounding.weights, rounding.bits)
    small.metadata_props.add(key="weight_bits", value=json.dumps(widths))
    seal(small, target, largest_bytes)
    return Quantized(graph, errors, rounding)


def _integer_convolutions(
    graph: onnx.ModelProto, weights: list[Weight], recordings: Recordings
) -> IntegerConvolutions:
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    at_our_rate = [
        soxr.resample(
            samples.reshape(len(samples), -1)[:, 0], rate_hz, int(facts["sample_rate_hz"])
        )
        for samples, rate_hz in recordings
    ]
    convolutions = find_convolutions(graph.graph, weights)
    ranges = measure_ranges(graph, convolutions, at_our_rate)
    grids = {name: signal_grid(*bounds) for name, bounds in ranges.items()}
    return IntegerConvolutions(convolutions, grids)


def _check_recording() -> Recordings:
    samples, rate_hz = soundfile.read(CHECK_RECORDING, dtype="float32")
    return [(samples[:, 0], rate_hz)]


def _by_width(weights: list[Weight], bits: dict[str, int]) -> dict[str, int]:
    """How many weights have each width."""
    widths = sorted(set(bits.values()))
    return {str(b): sum(w.count for w in weights if bits[w.name] == b) for b in widths}
