"""One mask for all channels: what the model did to them together, done to each alike, so that the
image stays.

The model file gives audio and no masks. The mask is what takes the inputs X_c to the outputs Y_c
best in all channels together, per bin and frame: Σ_c Y_c·X_c* / Σ_c |X_c|² (least squares). It is
exactly one where the output is the input, it is linear in the output (the masks of voice, room and
noise still sum to one), and by Cauchy and Schwarz no channel comes out louder than all outputs
together. Sound that cancels in the sum of the channels is no special case.
"""

import numpy as np
from numpy.typing import NDArray

from truenet.fifo import Samples

SILENCE = 1e-20  # power of a bin below which there is nothing to hear and nothing to divide by


class LinkedMask:
    """Streams whole hops through analysis, the common mask and synthesis.

    Args:
        window_samples: length of the square-root Hann window, a multiple of twice the hop.
        hop_samples: step between frames.
    """

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        self.latency_samples = window_samples - hop_samples
        self._hop = hop_samples
        self._window = root_hann(window_samples)
        self._gain = np.float32(2 * hop_samples / window_samples)  # overlapping squares sum to N/2R
        self._past: dict[str, Samples] = {}
        self._tail: Samples | None = None

    def process(self, inputs: Samples, outputs: Samples) -> Samples:
        """Apply the common mask.

        Args:
            inputs: (frames × hop, channels), in step with the outputs.
            outputs: (mixes, frames × hop, channels), what the model made of them.

        Returns:
            (mixes, frames × hop, channels), `latency_samples` later.
        """
        before = self._spectra("inputs", inputs[np.newaxis])
        after = self._spectra("outputs", outputs)
        power = np.sum(np.abs(before) ** 2, axis=1, keepdims=True)
        mask = np.sum(after * before.conj(), axis=1, keepdims=True) / np.maximum(power, SILENCE)
        return self._overlap_add(mask * before).transpose(0, 2, 1)

    def _spectra(self, name: str, audio: Samples) -> NDArray[np.complex64]:
        """(mixes, samples, channels) to (mixes, channels, frames, bins); `name` has a past."""
        rows = audio.transpose(0, 2, 1)
        past = self._past.get(name)
        if past is None:
            past = np.zeros((*rows.shape[:2], self.latency_samples), np.float32)
        joined = np.concatenate([past, rows], axis=2)
        self._past[name] = joined[..., -self.latency_samples :]
        frames = np.lib.stride_tricks.sliding_window_view(joined, len(self._window), axis=2)
        spectra = np.fft.rfft(frames[..., :: self._hop, :] * self._window)
        return spectra.astype(np.complex64, copy=False)

    def _overlap_add(self, spectra: NDArray[np.complex64]) -> Samples:
        frames = np.fft.irfft(spectra, len(self._window)) * (self._window * self._gain)
        mixes, channels, count, _ = frames.shape
        total = np.zeros((mixes, channels, count * self._hop + self.latency_samples), np.float32)
        if self._tail is not None:
            total[..., : self.latency_samples] = self._tail
        for index in range(count):
            start = index * self._hop
            total[..., start : start + len(self._window)] += frames[..., index, :]
        self._tail = total[..., count * self._hop :]
        return total[..., : count * self._hop]


def root_hann(window_samples: int) -> Samples:
    """Square root of the periodic Hann window; its squares, overlapped, sum to a constant."""
    phase = np.arange(window_samples) * (np.pi / window_samples)
    window: Samples = np.sin(phase).astype(np.float32)
    return window
