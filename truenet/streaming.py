"""Waveform in, waveform out, memory explicit: the module that is trained, and exported as the model file.

All memory between calls is one packed tensor, zero at the start of a stream; `state_layout` names its pieces.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from truenet.config import TRUNetConfig
from truenet.features import Features
from truenet.mask import CHANNELS_PER_MASK, phase_aware_mask
from truenet.network import TRUNet
from truenet.stft import STFT


class Masks(NamedTuple):
    """Complex masks of the direct voice and of everything but noise: real and imaginary parts (batch, frames, bins).

    The masks of room and noise follow: room = not_noise − voice, noise = 1 − not_noise.
    """

    voice_real: Tensor
    voice_imaginary: Tensor
    not_noise_real: Tensor
    not_noise_imaginary: Tensor


class StreamingTRUNet(nn.Module):
    """The whole model: analysis, features, network, masks, faders, synthesis."""

    def __init__(self, config: TRUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed_precision = False  # training: the network alone runs in bfloat16
        self.stft = STFT(config.window_samples, config.hop_samples)
        self.features = Features(config)
        self.network = TRUNet(config, self.features.channels)

    @property
    def state_layout(self) -> list[tuple[str, int]]:
        """Names and sizes of the pieces of the state, in order."""
        config = self.config
        rows = config.bins // config.encoder_stride
        return [
            ("analysis_overlap", config.latency_samples),
            ("synthesis_overlap", config.latency_samples),
            *self.features.state_layout,
            ("time_gru", rows * config.time_gru_units),
        ]

    @property
    def state_size(self) -> int:
        """Floats a stream's state has."""
        return sum(size for _, size in self.state_layout)

    def initial_state(self, batch: int) -> Tensor:
        """The state at the start of a stream: (batch, state_size) zeros."""
        return self.stft.window.new_zeros(batch, self.state_size)

    def forward(self, audio: Tensor, state: Tensor, faders: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance a block.

        Args:
            audio: (batch, frames * hop_samples), ±1.
            state: (batch, state_size).
            faders: (batch, 3) linear gains of voice, room and noise.

        Returns:
            audio like the input, `latency_samples` later, and the next state. Faders of one return the input.
        """
        masks, spectrum, pieces = self.masks(audio, state)
        voice, room, noise = (faders[:, i, None, None] for i in range(3))
        # This order is exactly one at faders of one, whatever the network says.
        real = noise + (room - noise) * masks.not_noise_real + (voice - room) * masks.voice_real
        imaginary = (room - noise) * masks.not_noise_imaginary + (
            voice - room
        ) * masks.voice_imaginary
        enhanced, pieces[1] = self._render(real, imaginary, spectrum, pieces[1])
        return enhanced, torch.cat(pieces, dim=1)

    def parts(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Voice, room and noise apart, for training.

        Args:
            audio: (batch, frames * hop_samples).
            state: (batch, state_size); its synthesis overlap is taken as zero.

        Returns:
            (3, batch, frames * hop_samples), `latency_samples` late, and the next state.
        """
        masks, spectrum, pieces = self.masks(audio, state)
        real = torch.stack(
            [masks.voice_real, masks.not_noise_real - masks.voice_real, 1 - masks.not_noise_real]
        )
        imaginary = torch.stack(
            [
                masks.voice_imaginary,
                masks.not_noise_imaginary - masks.voice_imaginary,
                -masks.not_noise_imaginary,
            ]
        )
        batch = audio.shape[0]
        repeated = (spectrum[0].repeat(3, 1, 1), spectrum[1].repeat(3, 1, 1))
        start = torch.zeros_like(pieces[1]).repeat(3, 1)
        samples, _ = self._render(real.flatten(0, 1), imaginary.flatten(0, 1), repeated, start)
        return samples.unflatten(0, (3, batch)), torch.cat(pieces, dim=1)

    def masks(
        self, audio: Tensor, state: Tensor
    ) -> tuple[Masks, tuple[Tensor, Tensor], list[Tensor]]:
        """Masks of a block, its spectrum (real, imaginary) and the next state in four: overlaps, features, GRU.

        The synthesis overlap among the pieces is still the one of `state`.
        """
        sizes = [size for _, size in self.state_layout]
        pieces = list(state.split([*sizes[:2], sum(sizes[2:-1]), sizes[-1]], dim=1))
        real, imaginary, pieces[0] = self.stft.analyse(audio, pieces[0])
        features, pieces[2] = self.features(real[..., 1:], imaginary[..., 1:], pieces[2])
        hidden = pieces[3].unflatten(1, (-1, self.config.time_gru_units))
        logits, hidden = self._logits(features, hidden)
        pieces[3] = hidden.flatten(1)
        logits = logits.to(real.dtype).permute(0, 2, 3, 1)
        sources = [
            phase_aware_mask(source, self.config.sign, draw=self.training)
            for source in logits.split(CHANNELS_PER_MASK, dim=3)
        ]
        return Masks(*sources[0], *sources[-1]), (real, imaginary), pieces

    def _logits(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        if not self.mixed_precision:
            return self.network(features, hidden)
        with torch.autocast(features.device.type, torch.bfloat16):
            return self.network(features, hidden)

    def _render(
        self, real: Tensor, imaginary: Tensor, spectrum: tuple[Tensor, Tensor], overlap: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask times spectrum, back to samples; DC takes the mask of bin 1."""
        real = torch.cat([real[..., :1], real], dim=2)
        imaginary = torch.cat([imaginary[..., :1], imaginary], dim=2)
        return self.stft.synthesise(
            real * spectrum[0] - imaginary * spectrum[1],
            real * spectrum[1] + imaginary * spectrum[0],
            overlap,
        )
