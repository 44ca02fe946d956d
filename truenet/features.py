"""What the network sees of a spectrum: log magnitude, PCEN and its phase (TRU-Net, section 2.1).

- log magnitude, relative to the recent level (time constant 1 s), so that a quiet talker looks like a loud one;
- PCEN (per-channel energy normalization, arXiv 1607.05666) with trainable constants;
- demodulated phase: the phase less the advance 2πkR/N of bin k a hop, which for R/N = 1/4 (or 1/2) is an exact
  quarter (half) turn: signs and swaps of real and imaginary part, no trigonometry, as a unit phasor (cos, sin);
- phase advance: what the demodulated phase turned by since the last frame, likewise (ours: docs/ABLATIONS.md). It
  stands still for a tone, and turns at random in noise.

Magnitudes have a floor relative to the frame: without it rounding noise in empty bins becomes full-scale phase.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from truenet.config import Feature, TRUNetConfig

RELATIVE_FLOOR = 1e-3  # of the frame's root mean square magnitude
SMALLEST_POWER = 1e-12  # keeps magnitudes at 1e-6 and the smoothers above denormals
_CHANNELS: dict[Feature, int] = {
    "log_magnitude": 1,
    "pcen": 1,
    "demodulated_phase": 2,
    "phase_advance": 2,
}
_LEVEL_SECONDS = 1.0
_BLOCK_FRAMES = 128  # longest triangular matrix in `smooth`


def smooth(values: Tensor, coefficient: Tensor, previous: Tensor) -> Tensor:
    """First-order recursion m[t] = (1 − s) m[t−1] + s e[t] over the frames, as products with triangular matrices.

    Args:
        values: (batch, frames, bins) e.
        coefficient: () s in (0, 1).
        previous: (batch, bins) m[−1].

    Returns:
        (batch, frames, bins) m.
    """
    outputs = []
    for block in values.split(_BLOCK_FRAMES, dim=1):
        steps = torch.arange(block.shape[1], device=values.device)
        ages = steps[:, None] - steps[None, :]
        keep = torch.log1p(-coefficient)
        weights = torch.where(ages >= 0, coefficient * torch.exp(keep * ages.clamp(min=0)), 0.0)
        decay = torch.exp(keep * (steps + 1))
        outputs.append(weights @ block + decay[:, None] * previous[:, None, :])
        previous = outputs[-1][:, -1]
    return torch.cat(outputs, dim=1)


def floored_magnitude(real: Tensor, imaginary: Tensor) -> Tensor:
    """Magnitude of spectra (batch, frames, bins), with the floor that this module describes."""
    power = real * real + imaginary * imaginary
    floor = RELATIVE_FLOOR**2 * power.mean(dim=2, keepdim=True)
    return (power + floor).clamp(min=SMALLEST_POWER).sqrt()


def channels_of(features: Collection[Feature]) -> list[tuple[Feature, int]]:
    """The feature of every channel and which of its channels it is, always in this order; a phase has cos and sin."""
    return [
        (feature, channel)
        for feature, channels in _CHANNELS.items()
        for channel in range(channels)
        if feature in features
    ]


class Features(nn.Module):
    """Features of spectra without DC.

    Memory, zeros at the start of a stream: `state_layout`.
    """

    level_coefficient: Tensor
    cosine: Tensor
    sine: Tensor

    def __init__(self, config: TRUNetConfig) -> None:
        super().__init__()
        self.names = config.features
        self.turns = config.window_samples // config.hop_samples
        self.bins = bins = config.bins
        self.smoothing_logit = nn.Parameter(torch.tensor(math.log(0.025 / 0.975)))
        self.log_alpha = nn.Parameter(torch.full((bins,), math.log(0.98)))
        self.log_delta = nn.Parameter(torch.full((bins,), math.log(2.0)))
        self.log_root = nn.Parameter(torch.full((bins,), math.log(0.5)))
        step = 1 - math.exp(-1 / (_LEVEL_SECONDS * config.frames_per_second))
        self.register_buffer("level_coefficient", torch.tensor(step), persistent=False)
        angle = torch.arange(self.turns)[:, None] * torch.arange(1, bins + 1) % self.turns
        turn = 2 * math.pi * angle.double() / self.turns
        self.register_buffer("cosine", turn.cos().round().float(), persistent=False)
        self.register_buffer("sine", turn.sin().round().float(), persistent=False)

    @property
    def channels(self) -> int:
        """Number of feature channels."""
        return len(channels_of(self.names))

    @property
    def state_layout(self) -> list[tuple[str, int]]:
        """Names and sizes of the pieces of the state, in order: smoothed magnitudes and level, where zero means that
        the stream starts; the frame counter modulo window / hop; the last frame's phase (cos, sin)."""
        layout = [("smoothed_magnitude_and_level", self.bins + 1)]
        if "demodulated_phase" in self.names:
            layout.append(("frame_counter", 1))
        if "phase_advance" in self.names:
            layout.append(("last_phase", 2 * self.bins))
        return layout

    def forward(self, real: Tensor, imaginary: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a block of frames.

        Args:
            real, imaginary: (batch, frames, bins).
            state: (batch, sum of the sizes in `state_layout`).

        Returns:
            features (batch, frames, bins, channels), next state.
        """
        names, sizes = zip(*self.state_layout, strict=True)
        pieces = dict(zip(names, state.split(sizes, dim=1), strict=True))
        magnitude = floored_magnitude(real, imaginary)
        mean = magnitude.mean(dim=2, keepdim=True)
        smoothed = pieces["smoothed_magnitude_and_level"]
        start = torch.where(smoothed > 0, smoothed, torch.cat([magnitude, mean], dim=2)[:, 0])
        slow = smooth(magnitude, torch.sigmoid(self.smoothing_logit), start[:, :-1])
        level = smooth(mean, self.level_coefficient, start[:, -1:])
        pieces["smoothed_magnitude_and_level"] = torch.cat([slow, level], dim=2)[:, -1]
        phase = torch.stack([real / magnitude, imaginary / magnitude], dim=2)
        channels: list[Tensor] = []
        if "log_magnitude" in self.names:
            channels.append((torch.log(magnitude) - torch.log(level)) / 2)
        if "pcen" in self.names:
            channels.append(self._pcen(magnitude, slow))
        if "demodulated_phase" in self.names:
            counter = pieces["frame_counter"]
            channels.extend(self._demodulate(phase, counter))
            pieces["frame_counter"] = torch.remainder(counter + real.shape[1], self.turns)
        if "phase_advance" in self.names:
            channels.extend(self._advance(phase, pieces["last_phase"]))
            pieces["last_phase"] = phase[:, -1].flatten(1)
        return torch.stack(channels, dim=3), torch.cat([*pieces.values()], dim=1)

    def _pcen(self, magnitude: Tensor, slow: Tensor) -> Tensor:
        alpha, delta, root = self.log_alpha.exp(), self.log_delta.exp(), self.log_root.exp()
        normalized = magnitude * torch.exp(-alpha * torch.log(slow))
        return (normalized + delta) ** root - delta**root

    def _demodulate(self, phase: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.arange(phase.shape[1], device=phase.device)
        turn = torch.remainder(counter.round().long() + frames, self.turns)  # (batch, frames)
        return turned_back(phase, torch.stack([self.cosine[turn], self.sine[turn]], dim=2))

    def _advance(self, phase: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.cat([last.unflatten(1, (1, 2, -1)), phase[:, :-1]], dim=1)
        hop = torch.stack([self.cosine[1], -self.sine[1]])  # turned back by its opposite: turned on
        return turned_back(phase, torch.stack(turned_back(before, hop), dim=2))


def turned_back(phase: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Phasors, (..., 2, bins) of cos and sin, less the phase of others."""
    (cosine, sine), (other_cosine, other_sine) = phase.unbind(-2), by.unbind(-2)
    return cosine * other_cosine + sine * other_sine, sine * other_cosine - cosine * other_sine
