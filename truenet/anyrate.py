"""Recordings of any sample rate through the model, in pieces: equal length, in step, constant
memory.

    x ──► to 16 kHz ──► model ──► back ──────────────► + ──► out
    │         └──► (delay) ─────► back ──► low        │
    └──► (delay) ──► x − low = what 16 kHz cannot hold ─► × gain of the top band

Both ways back are the same filter, so with all faders at one the two low parts cancel and the input
comes out again. The filters deliver in bursts: everything is aligned by counting samples.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from truenet.fifo import SampleFifo, Samples
from truenet.highband import TopBandGain
from truenet.modelfile import ModelFile
from truenet.samples import BadSamples
from truenet.stream import FrameStream

LOWEST_RATE_HZ = 1_000
HIGHEST_RATE_HZ = 1_000_000
BLOCK_SECONDS = 0.5
TAIL_SECONDS = 0.05  # silence after the end, so that the way back has enough for the last samples


class AnyRateStream:
    """Audio at any rate in, one enhanced version for each mix out.

    Blocks come out later than they went in and of other lengths, but together, with `flush`, they
    are as many samples as went in, each in its place.

    Args:
        model: the model file.
        sample_rate_hz: rate of the audio.
        channels: its channels.
        faders: (mixes, 3), linear gains of voice, room and noise.
        linked: one mask for all channels.

    Raises:
        ValueError: a rate that no recording has.
    """

    def __init__(
        self,
        model: ModelFile,
        sample_rate_hz: float,
        channels: int,
        faders: NDArray[np.float32],
        linked: bool = False,
    ) -> None:
        check_sample_rate(sample_rate_hz)
        self.bad_samples = BadSamples()
        self._rate_hz = sample_rate_hz
        self._received = 0
        self._core = _AlignedStream(model, channels, faders, linked and channels > 1)
        self._resampling = None
        if sample_rate_hz != model.info.sample_rate_hz:
            self._resampling = _Resampling(model, sample_rate_hz, channels, faders)

    def split(self, samples: Samples) -> Iterator[Samples]:
        """Cut (samples, channels) into blocks of a length that is good for `process`."""
        length = block_samples(self._rate_hz)
        return (samples[start : start + length] for start in range(0, len(samples), length))

    def process(self, block: Samples) -> Samples:
        """Take (samples, channels), return (mixes, other samples, channels)."""
        block = self.bad_samples.replace(block)
        self._received += len(block)
        if self._resampling is None:
            return self._core.process(block)[1]
        low, enhanced = self._core.process(self._resampling.down(block))
        return self._resampling.up(low, enhanced)

    def flush(self) -> Samples:
        """End the stream: (mixes, the samples still missing, channels)."""
        if self._resampling is None:
            return self._core.flush(0)[1]
        low, enhanced = self._core.process(self._resampling.down_last())
        first = self._resampling.up(low, enhanced)
        last = self._resampling.up_last(*self._core.flush(self._resampling.tail_samples))
        return np.concatenate([first, last], axis=1)


def check_sample_rate(sample_rate_hz: float) -> None:
    """Refuse rates that no recording has.

    Raises:
        ValueError: below 1 kHz, above 1 MHz, or not a number.
    """
    if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
        raise ValueError(
            f"a sample rate of {sample_rate_hz} Hz: possible are {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} Hz; correct the header, or give the real rate"
        )


def block_samples(sample_rate_hz: float) -> int:
    """Samples in a block of the length that is good for files."""
    return max(1, round(sample_rate_hz * BLOCK_SECONDS))


class _AlignedStream:
    """The model at its own rate, any block lengths, input and output returned in step."""

    def __init__(
        self, model: ModelFile, channels: int, faders: NDArray[np.float32], linked: bool
    ) -> None:
        self._hop = model.info.hop_samples
        self._stream = FrameStream(model, channels, faders, linked)
        self._waiting = SampleFifo(channels)  # for the model
        self._unanswered = SampleFifo(channels)  # given to the model, not out yet
        self._to_drop = self._stream.latency_samples

    def process(self, audio: Samples) -> tuple[Samples, Samples]:
        """(samples, channels) to inputs (n, channels) and their outputs (mixes, n, channels)."""
        self._waiting.put(audio)
        self._unanswered.put(audio)
        whole = len(self._waiting) // self._hop * self._hop
        enhanced = self._stream.process(self._waiting.take(whole))
        dropped = min(self._to_drop, enhanced.shape[1])
        self._to_drop -= dropped
        enhanced = enhanced[:, dropped:]
        return self._unanswered.take(enhanced.shape[1]), enhanced

    def flush(self, tail_samples: int) -> tuple[Samples, Samples]:
        """What is missing, and `tail_samples` of the silence after it."""
        missing = len(self._unanswered) + tail_samples
        fed = missing + self._stream.latency_samples + self._hop
        channels = self._unanswered.take(0).shape[1]
        low, enhanced = self.process(np.zeros((fed, channels), np.float32))
        return low[:missing], enhanced[:, :missing]


class _Resampling:
    """The way to the model's rate and back, and the part of the input that it cannot carry."""

    def __init__(
        self, model: ModelFile, rate_hz: float, channels: int, faders: NDArray[np.float32]
    ) -> None:
        info = model.info
        self.tail_samples = round(TAIL_SECONDS * info.sample_rate_hz)
        self._mixes, self._channels = len(faders), channels
        self._samples_a_gain = rate_hz / info.sample_rate_hz * info.hop_samples
        self._down = soxr.ResampleStream(rate_hz, info.sample_rate_hz, channels)
        self._up = soxr.ResampleStream(info.sample_rate_hz, rate_hz, channels * (1 + self._mixes))
        top_bin = info.window_samples * min(rate_hz / info.sample_rate_hz, 1.0) / 2
        bins = (round(0.75 * top_bin), round(top_bin))
        self._gain = TopBandGain(info.window_samples, info.hop_samples, *bins, faders, channels)
        self._inputs = SampleFifo(channels)
        self._lows = SampleFifo(1 + self._mixes, channels)
        self._gains = np.zeros((0, self._mixes, channels))
        self._gains_dropped = 0
        self._delivered = 0

    def down(self, block: Samples) -> Samples:
        self._inputs.put(block)
        return _float32(self._down.resample_chunk(block))

    def down_last(self) -> Samples:
        nothing = np.zeros((0, self._channels), np.float32)
        return _float32(self._down.resample_chunk(nothing, last=True))

    def up(self, low: Samples, enhanced: Samples, last: bool = False) -> Samples:
        lanes = np.concatenate([low[np.newaxis], enhanced]).transpose(1, 0, 2)
        flat = lanes.reshape(len(lanes), (1 + self._mixes) * self._channels)
        back = self._up.resample_chunk(flat, last=last)
        self._lows.put(back.reshape(-1, 1 + self._mixes, self._channels))
        self._gains = np.concatenate([self._gains, self._gain.process(low, enhanced)])
        known = len(self._inputs)
        if not last:  # gains are interpolated: a sample needs the gain before and the one after it
            gained = (self._gains_dropped + len(self._gains) - 1) * self._samples_a_gain
            known = min(known, max(0, int(gained) - self._delivered))
        return self._mix(min(known, len(self._lows)))

    def up_last(self, low: Samples, enhanced: Samples) -> Samples:
        return self.up(low, enhanced, last=True)

    def _mix(self, count: int) -> Samples:
        inputs, lows = self._inputs.take(count), self._lows.take(count).transpose(1, 0, 2)
        gains = self._interpolated_gains(count)
        mixed: Samples = lows[1:] + gains * (inputs - lows[0])
        return mixed

    def _interpolated_gains(self, count: int) -> Samples:
        """Gains for the next `count` samples, of shape (mixes, count, channels)."""
        place = (self._delivered + np.arange(count)) / self._samples_a_gain - self._gains_dropped
        before = np.clip(place.astype(np.int64), 0, max(0, len(self._gains) - 2))
        after = np.minimum(before + 1, len(self._gains) - 1)
        part = np.clip(place - before, 0.0, 1.0)[:, np.newaxis, np.newaxis]
        gains = self._gains[before] * (1 - part) + self._gains[after] * part
        self._delivered += count
        self._forget_gains()
        return _float32(gains.transpose(1, 0, 2))

    def _forget_gains(self) -> None:
        used = max(0, int(self._delivered / self._samples_a_gain) - self._gains_dropped)
        self._gains = self._gains[used:]
        self._gains_dropped += used


def _float32(values: NDArray[Any]) -> Samples:
    return values.astype(np.float32, copy=False)
