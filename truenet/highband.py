"""The gain for what the model cannot hear: the band above its own follows what the top of its own
band got.

The gain of a mix is the part of the input that is found again in the output, Σ Re(X*·Y) / Σ |X|²
over the top quarter of the common band. That is linear in the output: the gains of voice, room and
noise sum to one, as the stems do.
"""

import numpy as np
from numpy.typing import NDArray

from truenet.fifo import Samples
from truenet.linked import root_hann

SMOOTHING = np.array([1.0, 2.0, 3.0, 2.0, 1.0])  # over frames; with the window about 60 ms
SILENCE = 1e-9  # energy of the top band (of a windowed frame) below which it says nothing


class TopBandGain:
    """One gain for each frame, mix and channel, from an input and what was made of it.

    The gain with index i belongs to sample i·hop of the stream; it comes as soon as the samples
    around it are there.

    Args:
        window_samples, hop_samples: of the analysis.
        first_bin, last_bin: the top band, bins of the window (half open).
        faders: (mixes, 3), the linear gains of voice, room and noise: bounds of what may come out.
        channels: channels of the audio.
    """

    def __init__(
        self,
        window_samples: int,
        hop_samples: int,
        first_bin: int,
        last_bin: int,
        faders: NDArray[np.float32],
        channels: int,
    ) -> None:
        self._hop = hop_samples
        self._window = root_hann(window_samples)
        self._band = slice(first_bin, last_bin)
        self._faders = faders
        self._sums_to_one = bool(np.all(faders.sum(axis=0) == 1.0))
        # half a window of silence before the first sample puts the middle of frame 0 there
        self._past = np.zeros((len(faders) + 1, window_samples // 2, channels), np.float32)
        # energies of frames still to be smoothed: input first, then the mixes
        self._energies = np.zeros((len(SMOOTHING) // 2, len(faders) + 1, channels))

    def process(self, inputs: Samples, outputs: Samples) -> NDArray[np.float64]:
        """Take the next samples, return the gains that are now known.

        Args:
            inputs: (samples, channels).
            outputs: (mixes, samples, channels), in step with the inputs.

        Returns:
            (frames, mixes, channels).
        """
        joined = np.concatenate([self._past, np.concatenate([inputs[np.newaxis], outputs])], axis=1)
        count = max(0, (joined.shape[1] - len(self._window)) // self._hop + 1)
        self._past = joined[:, count * self._hop :]
        if not count:
            return np.zeros((0, *self._energies.shape[1:]))[:, 1:]
        frames = np.lib.stride_tricks.sliding_window_view(joined, len(self._window), axis=1)
        spectra = np.fft.rfft(frames[:, :: self._hop][:, :count] * self._window)[..., self._band]
        products: NDArray[np.float64] = (spectra[:1].conj() * spectra).real
        return self._smooth(products.sum(axis=-1, dtype=np.float64).transpose(1, 0, 2))

    def _smooth(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        self._energies = np.concatenate([self._energies, energies])
        if len(self._energies) < len(SMOOTHING):
            return np.zeros((0, *self._energies.shape[1:]))[:, 1:]
        view = np.lib.stride_tricks.sliding_window_view(self._energies, len(SMOOTHING), axis=0)
        smooth = view @ (SMOOTHING / SMOOTHING.sum())
        self._energies = self._energies[1 - len(SMOOTHING) :]
        return self._gains(smooth)

    def _gains(self, smooth: NDArray[np.float64]) -> NDArray[np.float64]:
        # where the top band is silent, what lies above it counts as noise
        noise = self._faders[:, 2, np.newaxis]
        gains = (smooth[:, 1:] + SILENCE * noise) / (smooth[:, :1] + SILENCE)
        lowest, highest = self._faders.min(axis=1), self._faders.max(axis=1)
        gains = np.clip(gains, lowest[:, np.newaxis], highest[:, np.newaxis])
        if self._sums_to_one:  # stems, or faders at one: together they must give the input back
            gains /= gains.sum(axis=1, keepdims=True)
        return gains
