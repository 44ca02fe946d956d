"""Losses on the three parts of a mixture: voice, room and noise.

- waveform cosine (TRU-Net, section 4): −⟨y, ŷ⟩ / (‖y‖ ‖ŷ‖) over segments of four lengths;
- magnitude (TRU-Net, section 4): |STFT|^0.3 at three resolutions, mean square;
- complex spectrum (an option, after Ephrat et al. 2018): |STFT|^0.3 e^{jφ}, mean square;
- perceptual (an option): what PESQ would take off, of the voice alone (`truenet.perceptual`).

All are taken relative to the mixture's level, so that quiet recordings count as much as loud ones. A part that is
absent (no room, no noise) has no cosine; in the spectral terms it is a target of silence. A voice that is 30 dB
below the mixture or more has no perceptual term.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from truenet.config import LossConfig
from truenet.perceptual import disturbance

SEGMENT_SAMPLES = (4064, 2032, 1016, 508)
TRANSFORM_SAMPLES = (1024, 512, 256)
_COMPRESSION = 0.3
_SMALLEST_POWER = 1e-6  # of |STFT|² at unit level (window of unit energy): −60 dB; |·|^0.3 has no gradient bound at 0
_SILENT_VOICE_DB = -30.0
_SILENT_SEGMENT_DB = -50.0  # a segment this far below the mixture has no direction worth learning


class Loss(NamedTuple):
    """Weighted sum and its terms, each a mean over the batch summed over the weighted parts."""

    total: Tensor
    terms: dict[str, Tensor]


def part_losses(estimates: Tensor, targets: Tensor, mixture: Tensor, config: LossConfig) -> Loss:
    """Loss of estimated parts.

    Args:
        estimates, targets: (3, batch, samples), voice, room and noise.
        mixture: (batch, samples), gives the level.
        config: weights of terms and parts.
    """
    level = mixture.square().mean(dim=1).clamp(min=1e-10).sqrt()
    scale = 1 / level[None, :, None]
    estimates, targets = estimates * scale, targets * scale
    terms: dict[str, Tensor] = {}
    if config.waveform_cosine:
        terms["waveform_cosine"] = _weighted(_waveform_cosine(estimates, targets), config)
    if config.magnitude or config.complex_spectrum:
        magnitude, complex_spectrum = _spectral(estimates, targets, bool(config.complex_spectrum))
        terms["magnitude"] = _weighted(magnitude, config)
        if config.complex_spectrum:
            terms["complex_spectrum"] = _weighted(complex_spectrum, config)
    if config.perceptual:
        present = targets[0].square().mean(dim=1) > 10 ** (_SILENT_VOICE_DB / 10)
        disturbed = disturbance(targets[0], estimates[0]) * present
        terms["perceptual"] = disturbed.sum() / present.sum().clamp(min=1)
    total = sum((getattr(config, name) * value for name, value in terms.items()), torch.zeros(()))
    return Loss(total, {name: value.detach() for name, value in terms.items()})


def _weighted(values: Tensor, config: LossConfig) -> Tensor:
    """Sum of the values (parts,) by the parts' weights."""
    return sum(
        (weight * value for weight, value in zip(config.parts, values, strict=True)),
        values.new_zeros(()),
    )


def _waveform_cosine(estimates: Tensor, targets: Tensor) -> Tensor:
    """(parts,) sum over the segment lengths of the mean negative cosine of the segments that are not silent."""
    smallest = 10 ** (_SILENT_SEGMENT_DB / 10)
    total = estimates.new_zeros(estimates.shape[0])
    for length in SEGMENT_SAMPLES:
        whole = estimates.shape[2] // length * length
        y = targets[..., :whole].unflatten(2, (-1, length))
        guess = estimates[..., :whole].unflatten(2, (-1, length))
        energy = y.square().sum(3)
        present = energy > smallest * length
        norms = (energy * guess.square().sum(3) + 1e-8).sqrt()
        cosine = (y * guess).sum(3) / norms
        count = present.sum(dim=(1, 2)).clamp(min=1)
        total = total - (cosine * present).sum(dim=(1, 2)) / count
    return total


def _spectral(estimates: Tensor, targets: Tensor, with_complex: bool) -> tuple[Tensor, Tensor]:
    """(parts,) compressed magnitude and compressed complex distance, summed over the resolutions."""
    magnitude = estimates.new_zeros(estimates.shape[0])
    complex_spectrum = torch.zeros_like(magnitude)
    for length in TRANSFORM_SAMPLES:
        window = torch.hann_window(length, device=estimates.device, dtype=estimates.dtype)
        window = window / window.square().sum().sqrt()
        spectra = [
            torch.view_as_real(
                torch.stft(
                    signal.flatten(0, 1),
                    length,
                    length // 4,
                    window=window,
                    center=False,
                    return_complex=True,
                )
            ).unflatten(0, signal.shape[:2])
            for signal in (estimates, targets)
        ]  # (parts, batch, bins, frames, 2)
        powers = [s.square().sum(4).clamp(min=_SMALLEST_POWER) for s in spectra]
        sizes = [power ** (_COMPRESSION / 2) for power in powers]
        magnitude = magnitude + (sizes[0] - sizes[1]).square().mean(dim=(1, 2, 3))
        if with_complex:
            compressed = [
                spectrum * power[..., None] ** ((_COMPRESSION - 1) / 2)
                for spectrum, power in zip(spectra, powers, strict=True)
            ]
            difference = (compressed[0] - compressed[1]).square().sum(4)
            complex_spectrum = complex_spectrum + difference.mean(dim=(1, 2, 3))
    return magnitude, complex_spectrum
