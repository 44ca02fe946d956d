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
)
from truenet_export.model_file import float_graph
from truenet_export.quantize import Weight, find_weights, quantize
from truenet_export.seal import seal
from truenet_export.widths import Errors, Recordings, fit, read_recordings, scan

LARGEST_BYTES = 370_688  # 362 KiB, the size that the TRU-Net paper states


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What was decided: the float graph, its weights, the error of each by width, and the widths chosen."""

    graph: onnx.ModelProto
    weights: list[Weight]
    errors: Errors
    bits: dict[str, int]


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
        weights: a .safetensors file.
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
    graph = float_graph(weights)
    found = find_weights(graph.graph)
    errors = scan(graph, found, recordings, lambda done: progress(done, len(found)))
    for entry in graph.metadata_props:
        if entry.key == "precision":
            entry.value = "int8"
    rewrite = None if weights_only else _integer_convolutions(graph, found, recordings)
    most_bits = dict.fromkeys(rewrite.weights, MOST_BITS) if rewrite else {}
    bits = fit(graph, found, errors, largest_bytes, rewrite, most_bits)
    small = quantize(graph, found, bits, rewrite)
    small.metadata_props.add(key="weight_bits", value=json.dumps(_by_width(found, bits)))
    seal(small, target)
    return Quantized(graph, found, errors, bits)


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
    return IntegerConvolutions(convolutions, measure_ranges(graph, convolutions, at_our_rate))


def _check_recording() -> Recordings:
    samples, rate_hz = soundfile.read(CHECK_RECORDING, dtype="float32")
    return [(samples[:, 0], rate_hz)]


def _by_width(weights: list[Weight], bits: dict[str, int]) -> dict[str, int]:
    """How many weights have each width."""
    widths = sorted(set(bits.values()))
    return {str(b): sum(w.count for w in weights if bits[w.name] == b) for b in widths}
