"""Is this model file whole, ours, as good as it says, and fast enough here? For someone who received one.

No PyTorch and no onnx package: the file is run, and its bytes are summed. What it should score on the recording in
the package (`models/check.flac`: the noisy voice on the left, the clean one on the right) stands in its metadata.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from truenet.fifo import Samples
from truenet.metrics import si_sdr_db
from truenet.modelfile import ModelFile, ModelInfo

CHECK_RECORDING = Path(__file__).parent / "models" / "check.flac"
SCORE_KEY, CHECKSUM_KEY = "check_si_sdr_db", "file_sha256"
_UNSET = "0" * 64
_SCORE_TOLERANCE_DB = 0.05  # kernels differ between machines by far less
_BYPASS_TOLERANCE = 1e-4
_CUTS_SNR_DB = 40.0
_FRAMES = 50
_SPEED_CALLS = 200


@dataclasses.dataclass(frozen=True)
class Check:
    """One question to the file: its name, the answer, and what was found."""

    name: str
    passed: bool
    found: str


def verify(path: Path) -> Iterator[Check]:
    """Every check, each when it is done.

    Raises:
        ValueError: the file cannot be opened as a model file at all.
    """
    model = ModelFile(path)
    yield _checksum(path, model.metadata)
    yield _metadata(model.info, model.metadata)
    yield from _contract(model)
    yield _score(model)
    yield _speed(model)


def sealed(data: bytes) -> bytes:
    """A file's bytes with its checksum filled in.

    Args:
        data: with `unset_checksum` in the metadata.
    """
    if data.count(_UNSET.encode()) != 1:
        raise ValueError("a file to be sealed has one checksum, of 64 zeros")
    return data.replace(_UNSET.encode(), hashlib.sha256(data).hexdigest().encode())


def unset_checksum() -> tuple[str, str]:
    """The metadata entry that `sealed` fills in."""
    return CHECKSUM_KEY, _UNSET


def voice_alone(model: ModelFile, samples: Samples, frames_per_call: int = 100) -> Samples:
    """Faders 1, 0, 0 over (samples,) or (rows, samples), aligned and equally long."""
    hop, latency, length = model.info.hop_samples, model.info.latency_samples, samples.shape[-1]
    rows = np.atleast_2d(samples)
    padded = np.pad(rows, ((0, 0), (0, latency + -(length + latency) % hop)))
    output, _ = run_calls(model, padded, np.array([[1, 0, 0]]), frames_per_call)
    return output[:, latency : latency + length].reshape(samples.shape)


def check_score_db(model: ModelFile) -> float:
    """SI-SDR of the voice in the package's recording."""
    both, _ = soundfile.read(CHECK_RECORDING, dtype="float32")
    return si_sdr_db(both[:, 1], voice_alone(model, both[:, 0]))


def snr_db(expected: Samples, found: Samples) -> float:
    """Signal to difference."""
    difference = np.square(expected - found, dtype=np.float64).mean()
    return float(10 * np.log10(np.square(expected, dtype=np.float64).mean() / (difference + 1e-30)))


def run_calls(
    model: ModelFile,
    audio: Samples,
    faders: NDArray[Any],
    frames_per_call: int = 100,
    state: Samples | None = None,
) -> tuple[Samples, Samples]:
    """A long block in calls of so many frames.

    Args:
        audio: (rows, samples), whole frames.
        faders: (rows or 1, 3) linear gains.
        state: (rows, state_size) to go on from.

    Returns:
        output like audio, `latency_samples` late, and the last state.
    """
    gains = np.broadcast_to(faders.astype(np.float32), (len(audio), 3))
    state, outputs = model.first_state(len(audio)) if state is None else state, []
    step = frames_per_call * model.info.hop_samples
    for begin in range(0, audio.shape[1], step):
        output, state = model.run(audio[:, begin : begin + step], state, gains)
        outputs.append(output)
    return np.concatenate(outputs, axis=1), state


def _checksum(path: Path, metadata: dict[str, str]) -> Check:
    stored = metadata.get(CHECKSUM_KEY, "")
    if not stored:
        return Check("checksum", False, "the file has none; make it again with truenet export")
    data = path.read_bytes().replace(stored.encode(), _UNSET.encode())
    intact = hashlib.sha256(data).hexdigest() == stored
    found = "every byte as it was written" if intact else "bytes were changed since it was written"
    return Check("checksum", intact, found)


def _metadata(info: ModelInfo, metadata: dict[str, str]) -> Check:
    wrong = []
    if info.latency_samples != info.window_samples - info.hop_samples:
        wrong.append("latency is not window minus hop")
    try:
        sizes = [int(size) for _, size in json.loads(metadata.get("state_layout", "[]"))]
    except (ValueError, TypeError):
        sizes = []
    if sum(sizes) != info.state_size:
        wrong.append("the state's layout does not add up to its size")
    if len(info.weights_sha256) != 64:
        wrong.append("no SHA-256 of the weights")
    told = f"{info.precision}, {info.sample_rate_hz} Hz, weights {info.weights_sha256[:12]}"
    return Check("metadata", not wrong, "; ".join(wrong) or told)


def _contract(model: ModelFile) -> Iterator[Check]:
    info = model.info
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2, _FRAMES * info.hop_samples), np.float32)
    noise *= np.float32(0.1)
    bypass, state = run_calls(model, noise, np.ones((1, 3)), 7)
    shapes = bypass.shape == noise.shape and state.shape == (2, info.state_size)
    yield Check("shapes", shapes, f"audio {bypass.shape}, state {state.shape}")
    late = noise[:, : noise.shape[1] - info.latency_samples]
    worst = np.abs(bypass[:, info.latency_samples :] - late).max() if shapes else math.inf
    yield Check("faders at one", bool(worst < _BYPASS_TOLERANCE), f"input ± {worst:.1e}")
    speech = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:, 0]
    speech = speech[: len(speech) // info.hop_samples // 2 * info.hop_samples]
    whole, single = (voice_alone(model, speech, frames) for frames in (100, 1))
    level_db = snr_db(whole, single)
    yield Check("pieces", level_db >= _CUTS_SNR_DB, f"one frame a call as many: {level_db:.0f} dB")
    silence, state = run_calls(model, 0 * noise, np.array([[1, 0, 0]]), _FRAMES)
    still = bool(np.isfinite(state).all() and np.abs(silence).max() < _BYPASS_TOLERANCE)
    yield Check("silence", still, "stays silent" if still else "does not stay silent")


def _score(model: ModelFile) -> Check:
    found_db, stated = check_score_db(model), model.metadata.get(SCORE_KEY)
    if stated is None:
        return Check("score", False, f"{found_db:.2f} dB SI-SDR, and the file states none")
    passed = abs(found_db - float(stated)) <= _SCORE_TOLERANCE_DB
    return Check("score", passed, f"{found_db:.2f} dB SI-SDR, stated {float(stated):.2f} dB")


def _speed(model: ModelFile) -> Check:
    info = model.info
    audio = np.full((1, info.hop_samples), 0.01, np.float32)
    state, faders = model.first_state(1), np.array([[1, 0, 0]], np.float32)
    seconds = []
    for _ in range(_SPEED_CALLS):
        started = time.perf_counter()
        _, state = model.run(audio, state, faders)
        seconds.append(time.perf_counter() - started)
    frame = info.hop_samples / info.sample_rate_hz
    typical, slow = np.median(seconds), np.quantile(seconds, 0.99)
    found = (
        f"{1000 * typical:.2f} ms a frame of {1000 * frame:.0f} ms, 99 % under {1000 * slow:.2f} ms"
    )
    return Check("speed", bool(typical < frame), found)
