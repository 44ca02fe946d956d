"""Causal short-time Fourier analysis and synthesis whose memory is an argument.

Lengths are those of TRU-Net (window 512, hop 128); the shape, which the paper leaves open, is a square-root
periodic Hann window on both sides, whose squares sum to a constant at these hops. Frames are never padded or
centred: frame t ends with block t, so a stream cut anywhere gives the same frames.
"""

import torch
from torch import Tensor, nn


class STFT(nn.Module):
    """Analysis and synthesis of blocks of whole frames.

    Args:
        window_samples: length of the window and of the transform.
        hop_samples: new samples a frame; a half or a quarter of the window.
    """

    window: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.overlap_samples = window_samples - hop_samples
        window = torch.hann_window(window_samples, periodic=True, dtype=torch.float64).sqrt()
        self.register_buffer("window", window.to(torch.get_default_dtype()), persistent=False)
        self.gain = 2 * hop_samples / window_samples  # the squared windows sum to window / (2 hop)

    def analyse(self, audio: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blocks of samples to spectra.

        Args:
            audio: (batch, frames * hop_samples), ±1.
            overlap: (batch, overlap_samples), the samples before `audio`; zeros at the start of a stream.

        Returns:
            real and imaginary part, each (batch, frames, window_samples / 2 + 1), and the next overlap.
        """
        samples = torch.cat([overlap, audio], dim=1)
        blocks = samples.unflatten(1, (-1, self.hop_samples))
        frames = audio.shape[1] // self.hop_samples
        parts = self.window_samples // self.hop_samples
        windows = torch.cat([blocks[:, part : part + frames] for part in range(parts)], dim=2)
        spectrum = torch.view_as_real(torch.fft.rfft(windows * self.window))
        return spectrum[..., 0], spectrum[..., 1], samples[:, audio.shape[1] :]

    def synthesise(self, real: Tensor, imaginary: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra to samples that lag the analysed ones by `overlap_samples`.

        Args:
            real, imaginary: (batch, frames, window_samples / 2 + 1).
            overlap: (batch, overlap_samples), the unfinished sums of earlier frames.

        Returns:
            audio (batch, frames * hop_samples) and the next overlap.
        """
        windows = torch.fft.irfft(torch.complex(real, imaginary)) * (self.window * self.gain)
        frames, hop = real.shape[1], self.hop_samples
        parts = self.window_samples // hop
        sums = nn.functional.pad(overlap.unflatten(1, (-1, hop)), (0, 0, 0, frames))
        for part in range(parts):
            piece = windows[..., part * hop : (part + 1) * hop]
            sums = sums + nn.functional.pad(piece, (0, 0, part, parts - 1 - part))
        samples = sums.flatten(1)
        return samples[:, : frames * hop], samples[:, frames * hop :]
