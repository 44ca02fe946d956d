"""The model fed in whole frames: several channels and mixes (fader settings) in one batch."""

import numpy as np
from numpy.typing import NDArray

from truenet.fifo import SampleFifo, Samples
from truenet.linked import LinkedMask
from truenet.modelfile import ModelFile

ROW_FRAMES_A_CALL = 32  # 16 to 50 are fastest on the processors tried; memory grows with it


class FrameStream:
    """Audio of a fixed number of channels in, one version of it for each mix out, `latency_samples`
    late.

    Args:
        model: the model file.
        channels: audio channels; each is a row of the batch.
        faders: (mixes, 3), linear gains of voice, room and noise; may be set again at any time.
        linked: one mask for all channels, so that the image stays where it is.
    """

    def __init__(
        self, model: ModelFile, channels: int, faders: NDArray[np.float32], linked: bool = False
    ) -> None:
        self.faders = faders
        self.latency_samples = model.info.latency_samples
        self._model = model
        self._channels = channels
        self._state = model.first_state(len(faders) * channels)
        self._linked: LinkedMask | None = None
        if linked:
            self._linked = LinkedMask(model.info.window_samples, model.info.hop_samples)
            self._delay = SampleFifo(channels)
            self._delay.put(np.zeros((self.latency_samples, channels), np.float32))
            self.latency_samples += self._linked.latency_samples

    def process(self, audio: Samples) -> Samples:
        """Take (frames × hop, channels), return (mixes, frames × hop, channels)."""
        hop = self._model.info.hop_samples
        piece = hop * max(1, ROW_FRAMES_A_CALL // len(self._state))
        pieces = [self._call(audio[start : start + piece]) for start in range(0, len(audio), piece)]
        if not pieces:
            return np.zeros((len(self.faders), 0, self._channels), np.float32)
        return np.concatenate(pieces, axis=1)

    def _call(self, audio: Samples) -> Samples:
        mixes = len(self.faders)
        rows = np.tile(audio.T, (mixes, 1))
        row_faders = np.repeat(self.faders, self._channels, axis=0)
        enhanced, self._state = self._model.run(rows, self._state, row_faders)
        mixed = enhanced.reshape(mixes, self._channels, len(audio)).transpose(0, 2, 1)
        if self._linked is None:
            return mixed
        self._delay.put(audio)
        return self._linked.process(self._delay.take(len(audio)), mixed)
