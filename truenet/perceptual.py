"""A differentiable relative of PESQ (ITU-T P.862 and P.862.2), as a loss.

It follows the standard's perceptual model: power per Bark, partial compensation of the frequency response and of
the gain, Zwicker's loudness, a masked and an asymmetric disturbance, and their norms over bands and time. Two things
differ: nothing is aligned in time (an estimate is aligned with its target already), and the Bark scale and the
hearing threshold are interpolated between few points instead of taken from tables. It ranks recordings as PESQ does
(tests/test_perceptual.py); scores are made with the `pesq` package.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_SAMPLE_RATE_HZ = 16_000
_WINDOW = 512
_BANDS = 49
# Zwicker's critical bands: Hz at 0, 1, 2 … Bark.
_HZ_OF_BARK = (
    *(0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480),
    *(1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400, 7700, 9500),
)
_FIRST_BAND_BARK = 0.318
_BAND_GROWTH = 1.0128
# Threshold of hearing of P.862: (Hz, dB).
_THRESHOLD = (
    *((8, 77.1), (32, 63.9), (64, 48.5), (96, 36.9), (129, 30.7), (196, 20.2), (265, 12.5)),
    *((336, 6.9), (409, 2.8), (485, -0.1), (570, -2.5), (672, -4.1), (847, -5.7), (1050, -6.0)),
    *((1312, -5.8), (1629, -4.7), (2159, -3.3), (2723, -3.0), (4194, -2.9), (5100, -3.7)),
    *((6234, -4.4), (6947, -3.8), (7796, -2.7)),
)
_POWER_SCALE = 6.910853e-6
_LOUDNESS_SCALE = 0.1866055
_ZWICKER_POWER = 0.23
_SPEECH_BAND_HZ = (325, 3250)
_SPEECH_BAND_POWER = 1e7
_SMALLEST = 1e-8


class _Ear(NamedTuple):
    """emphasis: (bins,) of power; overlap: (bins, bands) share of a bin in a band, per Bark;
    threshold (power), exponent (of loudness), width (Bark): (bands,)."""

    emphasis: Tensor
    overlap: Tensor
    threshold: Tensor
    exponent: Tensor
    width: Tensor


def disturbance(reference: Tensor, estimate: Tensor) -> Tensor:
    """What PESQ takes off its 4.5: 0.1 times the symmetric plus 0.0309 times the asymmetric disturbance.

    Args:
        reference, estimate: (batch, samples) at 16 kHz, any level, 6,000 samples or more. Where one is silent the
            value is finite but means nothing.

    Returns:
        (batch,), 0 for an estimate that cannot be told from the reference.
    """
    ear = _ear(reference.device, reference.dtype)
    original, degraded = (
        _power_per_bark(_at_speech_level(signal), ear) for signal in (reference, estimate)
    )
    original = original * _response(original, degraded, ear.threshold)
    degraded = degraded * _gain(original, degraded, ear.threshold)
    loud, guess = _loudness(original, ear), _loudness(degraded, ear)
    difference = (guess - loud).abs() - 0.25 * torch.minimum(guess, loud)
    difference = difference.clamp(min=0)
    asymmetry = ((degraded + 50) / (original + 50)) ** 1.2
    asymmetry = torch.where(asymmetry < 3, 0, asymmetry.clamp(max=12))
    per_band = difference * ear.width
    symmetric = (per_band.square().sum(2) * ear.width.sum() + _SMALLEST).sqrt()
    asymmetric = (per_band * asymmetry).sum(2)
    importance = ((_audible(original, ear.threshold) + 1e5) / 1e7) ** 0.04
    symmetric, asymmetric = ((d / importance).clamp(max=45) for d in (symmetric, asymmetric))
    return 0.1 * _over_time(symmetric) + 0.0309 * _over_time(asymmetric)


def opinion_score(disturbed: Tensor) -> Tensor:
    """Mean opinion score (1.04 to 4.64) that P.862.2 maps a `disturbance` to."""
    return 0.999 + 4 / (1 + torch.exp(-1.3669 * (4.5 - disturbed) + 3.8224))


@functools.cache
def _ear(device: torch.device, dtype: torch.dtype) -> _Ear:
    """Made once: a GPU would wait for a copy at every step."""
    spacing = _SAMPLE_RATE_HZ / _WINDOW
    frequency = np.arange(_WINDOW // 2 + 1) * spacing
    bark = np.arange(len(_HZ_OF_BARK))
    width = _FIRST_BAND_BARK * _BAND_GROWTH ** np.arange(-1.0, _BANDS - 1)
    width[0] /= 2
    width *= np.interp(_SAMPLE_RATE_HZ / 2, _HZ_OF_BARK, bark) / width.sum()
    edges = np.concatenate([[0], np.cumsum(width)])
    edges_hz = np.interp(edges, bark, _HZ_OF_BARK)
    low, high = frequency[:, None] - spacing / 2, frequency[:, None] + spacing / 2
    overlap = np.minimum(high, edges_hz[1:]) - np.maximum(low, edges_hz[:-1])
    overlap = overlap.clip(min=0) / width
    overlap[0] = 0  # DC counts for nothing
    hz, level_db = np.array(_THRESHOLD).T
    threshold = 10 ** (np.interp((edges_hz[1:] + edges_hz[:-1]) / 2, hz, level_db) / 10)
    exponent = _ZWICKER_POWER * (6 / ((edges[1:] + edges[:-1]) / 2 + 2)).clip(1, 2) ** 0.15
    # The input filter of P.862.2: a high-pass at some 100 Hz.
    delay = np.exp(-2j * np.pi * frequency / _SAMPLE_RATE_HZ)
    response = 2.740826 * (1 - delay) ** 2 / (1 - 1.9444777 * delay + 0.94597794 * delay**2)
    tables = (np.abs(response) ** 2, overlap, threshold, exponent, width)
    return _Ear(*(torch.from_numpy(table).to(device, dtype) for table in tables))


def _at_speech_level(signal: Tensor) -> Tensor:
    """With the same power between 325 and 3,250 Hz for all."""
    samples = signal.shape[1]
    low, high = (round(hz * samples / _SAMPLE_RATE_HZ) for hz in _SPEECH_BAND_HZ)
    spectrum = torch.fft.rfft(signal)[:, low:high]
    power = 2 * torch.view_as_real(spectrum).square().sum(dim=(1, 2)) / samples**2
    return signal * (_SPEECH_BAND_POWER / (power + 1e-12)).sqrt()[:, None]


def _power_per_bark(signal: Tensor, ear: _Ear) -> Tensor:
    """(batch, frames, bands)"""
    window = torch.hann_window(_WINDOW, device=signal.device, dtype=signal.dtype)
    spectrum = torch.stft(
        signal, _WINDOW, _WINDOW // 2, window=window, center=False, return_complex=True
    )
    power = torch.view_as_real(spectrum).square().sum(3).transpose(1, 2)
    return (power * ear.emphasis) @ ear.overlap * _POWER_SCALE


def _audible(power: Tensor, threshold: Tensor, factor: float = 1.0) -> Tensor:
    """(batch, frames) power of the bands above a multiple of the threshold."""
    return torch.where(power > factor * threshold, power, 0).sum(2)


def _response(original: Tensor, degraded: Tensor, threshold: Tensor) -> Tensor:
    """(batch, 1, bands) what the degraded one's frequency response is to the original, at most 20 dB."""
    active = (_audible(original, threshold, 100) > _SPEECH_BAND_POWER)[:, :, None]
    means = [
        torch.where((power > 100 * threshold) & active, power, 0).mean(1, keepdim=True)
        for power in (degraded, original)
    ]
    return ((means[0] + 1000) / (means[1] + 1000)).clamp(0.01, 100)


def _gain(original: Tensor, degraded: Tensor, threshold: Tensor) -> Tensor:
    """(batch, frames, 1) that gives each frame of the degraded one the original's power."""
    ratio = (_audible(original, threshold) + 5e3) / (_audible(degraded, threshold) + 5e3)
    smooth = torch.cat([ratio[:, :1], 0.8 * ratio[:, 1:] + 0.2 * ratio[:, :-1]], dim=1)
    return smooth.clamp(3e-4, 5)[:, :, None]


def _loudness(power: Tensor, ear: _Ear) -> Tensor:
    """Sone per Bark (P.862, 10.2.7)."""
    above = (0.5 + 0.5 * power / ear.threshold).clamp(min=1) ** ear.exponent - 1
    return _LOUDNESS_SCALE * (2 * ear.threshold) ** ear.exponent * above


def _over_time(values: Tensor) -> Tensor:
    """(batch,) L6 within overlapping pieces of 20 frames, L2 over the pieces."""
    peaks = (values.unfold(1, 20, 10) ** 6).mean(2) + _SMALLEST
    return (peaks ** (1 / 3)).mean(1).sqrt()
