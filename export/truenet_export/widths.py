"""How many bits each weight gets: those whose rounding is heard least go first to fewer.

The scan rounds one weight at a time to the fewest bits, runs the recordings, and takes the power of the change of
the voice relative to the voice. Errors of other widths follow from it by the mean square of the rounding, and errors
of several weights add up: both hold while they are small, and the file that comes out is measured as a whole.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import soundfile

from truenet.enhancer import Enhancer
from truenet.fifo import Samples
from truenet_export.quantize import Rewrite, Weight, quantize, stored_bytes, with_rounded_weights
from truenet_export.weights_int import WIDTHS

_SUFFIXES = {".flac", ".wav", ".ogg"}
_CALIBRATION_SECONDS = 60.0
_SILENCE_RMS = 1e-5  # −100 dBFS
_RESERVED_BYTES = 300  # entries of the metadata that only the finished file gets

Recordings = list[tuple[Samples, int]]  # samples and their rate in Hz
Errors = dict[str, dict[int, float]]  # by weight and width, relative to the voice's power


def read_recordings(folder: Path) -> Recordings:
    """The beginnings of the audio files of a folder, a minute altogether.

    Raises:
        ValueError: no folder, no audio in it, or a file that is silent.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(
            f"calibration folder {folder} has no audio ({', '.join(sorted(_SUFFIXES))}); "
            "give recordings of noisy speech"
        )
    recordings = []
    for path in paths[: int(_CALIBRATION_SECONDS)]:
        rate_hz = soundfile.info(path).samplerate
        frames = int(_CALIBRATION_SECONDS / len(paths[: int(_CALIBRATION_SECONDS)]) * rate_hz)
        samples, _ = soundfile.read(path, frames, dtype="float32")
        if np.sqrt(np.mean(np.square(samples))) < _SILENCE_RMS:
            raise ValueError(f"{path} is silent: take it out of the calibration folder")
        recordings.append((samples, rate_hz))
    return recordings


def voices(model: onnx.ModelProto, recordings: Recordings) -> list[Samples]:
    """The voice alone in each recording."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        enhancer = Enhancer(path, room_db=-np.inf, noise_db=-np.inf)
        return [enhancer.enhance(samples, rate_hz) for samples, rate_hz in recordings]


def relative_error(expected: list[Samples], found: list[Samples]) -> float:
    """Power of the difference over power, a mean over the recordings."""
    shares = [
        np.square(a - b, dtype=np.float64).sum() / np.square(a, dtype=np.float64).sum()
        for a, b in zip(expected, found, strict=True)
    ]
    return float(np.mean(shares))


def scan(
    model: onnx.ModelProto,
    weights: list[Weight],
    recordings: Recordings,
    report: Callable[[int], None] = lambda done: None,
) -> Errors:
    """What rounding each weight costs, by width.

    Args:
        report: told how many weights are done.
    """
    expected = voices(model, recordings)
    errors: Errors = {}
    for done, weight in enumerate(weights):
        squares = {b: float(np.square(weight.rounded(b) - weight.values).sum()) for b in WIDTHS}
        fewest = WIDTHS[0]
        rounded = with_rounded_weights(model, [weight], {weight.name: fewest})
        error = relative_error(expected, voices(rounded, recordings))
        whole = max(squares[fewest], 1e-30)
        errors[weight.name] = {bits: error * square / whole for bits, square in squares.items()}
        report(done + 1)
    return errors


def fit(
    model: onnx.ModelProto,
    weights: list[Weight],
    errors: Errors,
    largest_bytes: int,
    rewrite: Rewrite | None = None,
    most_bits: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The widths with the least error whose file has at most `largest_bytes`.

    Args:
        rewrite: as for `quantize`.
        most_bits: of weights that may not have the widest, by name.

    Raises:
        ValueError: not even the fewest bits fit.
    """
    everything = {weight.name: WIDTHS[-1] for weight in weights}
    budget = stored_bytes(weights, everything)
    while True:
        bits = _choose(weights, errors, budget, most_bits or {})
        size = quantize(model, weights, bits, rewrite).ByteSize() + _RESERVED_BYTES
        if size <= largest_bytes:
            return bits
        if set(bits.values()) == {WIDTHS[0]}:
            raise ValueError(
                f"the file has {size:,} bytes with {WIDTHS[0]} bits for every weight: more than the "
                f"{largest_bytes:,} allowed"
            )
        budget -= size - largest_bytes


def _choose(
    weights: list[Weight], errors: Errors, budget_bytes: int, most_bits: Mapping[str, int]
) -> dict[str, int]:
    """From the fewest bits up, always the step that takes most error away for a byte, while it fits."""
    bits = {weight.name: WIDTHS[0] for weight in weights}
    while True:
        steps = {
            (weight.name, wider): _gain(weight, errors[weight.name], bits[weight.name], wider)
            for weight in weights
            for wider in WIDTHS
            if bits[weight.name] < wider <= most_bits.get(weight.name, WIDTHS[-1])
        }
        for name, wider in sorted(steps, key=lambda step: steps[step], reverse=True):
            if stored_bytes(weights, bits | {name: wider}) <= budget_bytes:
                bits[name] = wider
                break
        else:
            return bits


def _gain(weight: Weight, errors: Mapping[int, float], bits: int, wider: int) -> float:
    return (errors[bits] - errors[wider]) / (weight.count * (wider - bits))
