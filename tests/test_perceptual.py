"""The perceptual loss ranks as PESQ does, does not depend on level, and has finite gradients."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from truenet.perceptual import disturbance, opinion_score

SAMPLES = Path(__file__).parents[1] / "samples"
RATE_HZ = 16_000


def speech() -> torch.Tensor:
    """(3, samples) clean samples of the repository."""
    signals = [
        soundfile.read(path, dtype="float32")[0][: 3 * RATE_HZ]
        for path in sorted((SAMPLES / "clean").glob("*.flac"))[:3]
    ]
    shortest = min(map(len, signals))
    return torch.from_numpy(np.stack([signal[:shortest] for signal in signals]))


def degraded(clean: torch.Tensor) -> list[torch.Tensor]:
    """White and low noise at four levels, a lost upper band, clipping."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(clean.shape, generator=generator) * clean.std(dim=1, keepdim=True)
    low = noise.cumsum(1) / 20
    spectrum = torch.fft.rfft(clean)
    dull = torch.cat([spectrum[:, :6000], 0.05 * spectrum[:, 6000:]], dim=1)
    loud = clean.std(dim=1, keepdim=True)
    return [
        *(clean + gain * kind for kind in (noise, low) for gain in (0.5, 0.1, 0.02, 0.005)),
        torch.fft.irfft(dull, clean.shape[1]),
        clean.clamp(-loud, loud),
    ]


def test_it_ranks_as_pesq_does() -> None:
    pesq = pytest.importorskip("pesq")
    clean = speech()
    ours, theirs = [], []
    for signals in degraded(clean):
        ours.extend(opinion_score(disturbance(clean, signals)).tolist())
        theirs.extend(
            pesq.pesq(RATE_HZ, reference, signal, "wb")
            for reference, signal in zip(clean.numpy(), signals.numpy(), strict=True)
        )
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert np.abs(np.subtract(ours, theirs)).mean() < 0.25


def test_the_original_is_perfect_and_level_does_not_matter() -> None:
    clean = speech()
    assert disturbance(clean, clean).max() < 0.01
    worse = degraded(clean)[1]
    for gains in ((1.0, 0.01), (0.01, 1.0), (20.0, 20.0)):
        torch.testing.assert_close(
            disturbance(clean * gains[0], worse * gains[1]),
            disturbance(clean, worse),
            rtol=1e-3,
            atol=0,
        )


@pytest.mark.parametrize("gain", [0.0, 1e-6, 1.0])
def test_gradients_are_finite(gain: float) -> None:
    clean = speech()
    for reference, start in ((clean, clean * gain), (clean * gain, clean), (clean * gain,) * 2):
        estimate = start.clone().requires_grad_()
        disturbance(reference, estimate).sum().backward()
        assert estimate.grad is not None
        assert torch.isfinite(estimate.grad).all()


def test_rows_do_not_mix_and_following_the_gradient_helps() -> None:
    clean = speech()
    estimate = degraded(clean)[0].requires_grad_()
    first = disturbance(clean, estimate)
    torch.testing.assert_close(disturbance(clean[1:2], estimate[1:2]), first[1:2])
    (gradient,) = torch.autograd.grad(first.sum(), estimate)
    step = 0.01 * estimate.norm() / gradient.norm()
    assert (disturbance(clean, estimate - step * gradient) < first).all()
