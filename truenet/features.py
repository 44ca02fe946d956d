"""What the network sees of a spectrum: log magnitude, PCEN and demodulated phase (TRU-Net, section 2.1).

- log magnitude, relative to the recent level (time constant 1 s), so that a quiet talker looks like a loud one;
- PCEN (per-channel energy normalization, arXiv 1607.05666) with trainable constants;
- demodulated phase: the phase less the advance 2πkR/N of bin k a hop, which for R/N = 1/4 (or 1/2) is an exact
  quarter (half) turn: signs and swaps of real and imaginary part, no trigonometry, as a unit phasor (cos, sin).

Magnitudes have a floor relative to the frame: without it rounding noise in empty bins becomes full-scale phase.
"""

import math

import torch
from torch import Tensor, nn

from truenet.config import TRUNetConfig

RELATIVE_FLOOR = 1e-3  # of the frame's root mean square magnitude
SMALLEST_POWER = 1e-12  # keeps magnitudes at 1e-6 and the smoothers above denormals
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


class Features(nn.Module):
    """Features of spectra without DC.

    Memory: `bins` smoothed magnitudes and the smoothed level (zero means that the stream starts), and the frame
    counter modulo window / hop.
    """

    level_coefficient: Tensor
    cosine: Tensor
    sine: Tensor

    def __init__(self, config: TRUNetConfig) -> None:
        super().__init__()
        self.names = config.features
        self.turns = config.window_samples // config.hop_samples
        bins = config.bins
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
        """Number of feature channels: the demodulated phase has two."""
        return sum(2 if name == "demodulated_phase" else 1 for name in self.names)

    def forward(
        self, real: Tensor, imaginary: Tensor, smoothed: Tensor, counter: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of a block of frames.

        Args:
            real, imaginary: (batch, frames, bins).
            smoothed: (batch, bins + 1).
            counter: (batch, 1), whole numbers.

        Returns:
            features (batch, frames, bins, channels), next smoothed, next counter.
        """
        power = real * real + imaginary * imaginary
        floor = RELATIVE_FLOOR**2 * power.mean(dim=2, keepdim=True)
        magnitude = (power + floor).clamp(min=SMALLEST_POWER).sqrt()
        mean = magnitude.mean(dim=2, keepdim=True)
        start = torch.where(smoothed > 0, smoothed, torch.cat([magnitude, mean], dim=2)[:, 0])
        slow = smooth(magnitude, torch.sigmoid(self.smoothing_logit), start[:, :-1])
        level = smooth(mean, self.level_coefficient, start[:, -1:])
        channels: list[Tensor] = []
        if "log_magnitude" in self.names:
            channels.append((torch.log(magnitude) - torch.log(level)) / 2)
        if "pcen" in self.names:
            channels.append(self._pcen(magnitude, slow))
        if "demodulated_phase" in self.names:
            channels.extend(self._demodulate(real / magnitude, imaginary / magnitude, counter))
        following = torch.remainder(counter + real.shape[1], self.turns)
        return torch.stack(channels, dim=3), torch.cat([slow, level], dim=2)[:, -1], following

    def _pcen(self, magnitude: Tensor, slow: Tensor) -> Tensor:
        alpha, delta, root = self.log_alpha.exp(), self.log_delta.exp(), self.log_root.exp()
        normalized = magnitude * torch.exp(-alpha * torch.log(slow))
        return (normalized + delta) ** root - delta**root

    def _demodulate(
        self, real: Tensor, imaginary: Tensor, counter: Tensor
    ) -> tuple[Tensor, Tensor]:
        frames = torch.arange(real.shape[1], device=real.device)
        turn = torch.remainder(counter.round().long() + frames, self.turns)  # (batch, frames)
        cosine, sine = self.cosine[turn], self.sine[turn]
        return real * cosine + imaginary * sine, imaginary * cosine - real * sine
