"""The recursion equals its loop, the demodulated phase stands still for tones, levels do not matter."""

import math

import pytest
import torch

from truenet.config import Feature, TRUNetConfig
from truenet.features import Features, channels_of, smooth
from truenet.stft import STFT


def features_of(audio: torch.Tensor, *names: Feature) -> torch.Tensor:
    config = TRUNetConfig(features=names) if names else TRUNetConfig()
    stft, features = STFT(512, 128), Features(config)
    real, imaginary, _ = stft.analyse(audio, torch.zeros(1, 384))
    state = torch.zeros(1, sum(size for _, size in features.state_layout))
    with torch.no_grad():
        values, _ = features(real[..., 1:], imaginary[..., 1:], state)
    return values[0]


@pytest.mark.parametrize("coefficient", [1e-4, 0.025, 0.9])
@pytest.mark.parametrize("frames", [1, 127, 128, 300])
def test_smoothing_equals_the_loop(frames: int, coefficient: float) -> None:
    torch.manual_seed(0)
    values = torch.rand(2, frames, 5, dtype=torch.float64)
    previous = torch.rand(2, 5, dtype=torch.float64)
    expected, last = [], previous
    for frame in values.unbind(1):
        last = (1 - coefficient) * last + coefficient * frame
        expected.append(last)
    found = smooth(values, torch.tensor(coefficient, dtype=torch.float64), previous)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=0, atol=1e-12)


def test_the_phase_of_a_tone_advances_by_its_distance_from_the_bin() -> None:
    time = torch.arange(128 * 40) / 16_000
    values = features_of(0.5 * torch.sin(2 * math.pi * 440 * time)[None])
    phase = torch.atan2(values[8:, 13, 3], values[8:, 13, 2])  # bin 14, without DC
    advance = torch.remainder(phase.diff() + math.pi, 2 * math.pi) - math.pi
    expected = 2 * math.pi * (440 - 14 * 31.25) * 128 / 16_000
    torch.testing.assert_close(advance, torch.full_like(advance, expected), rtol=0, atol=2e-3)


def test_the_phase_advance_is_that_of_the_demodulated_phase() -> None:
    audio = torch.randn(1, 128 * 30, generator=torch.Generator().manual_seed(0))
    values = features_of(audio, "demodulated_phase", "phase_advance")
    phase = torch.view_as_complex(values[..., :2].contiguous())
    found = torch.view_as_complex(values[..., 2:].contiguous())
    torch.testing.assert_close(found[1:], phase[1:] * phase[:-1].conj(), rtol=0, atol=1e-6)
    assert not found[0].any()  # nothing was before it


def test_the_phase_advance_stands_still_for_a_tone() -> None:
    time = torch.arange(128 * 40) / 16_000
    values = features_of(0.5 * torch.sin(2 * math.pi * 440 * time)[None], "phase_advance")
    expected = 2 * math.pi * (440 - 14 * 31.25) * 128 / 16_000
    found = torch.atan2(values[8:, 13, 1], values[8:, 13, 0])  # bin 14, without DC
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=2e-3)


def test_channels_are_in_one_order_whatever_the_config_says() -> None:
    audio = torch.randn(1, 128 * 30, generator=torch.Generator().manual_seed(0))
    one = features_of(audio, "phase_advance", "log_magnitude")
    other = features_of(audio, "log_magnitude", "phase_advance")
    assert torch.equal(one, other)
    assert channels_of(["phase_advance", "log_magnitude"]) == [
        ("log_magnitude", 0),
        ("phase_advance", 0),
        ("phase_advance", 1),
    ]


def test_a_quiet_recording_looks_like_a_loud_one() -> None:
    torch.manual_seed(0)
    audio = torch.randn(1, 128 * 60) * 0.1
    loud, quiet = features_of(audio), features_of(audio * 10 ** (-50 / 20))
    torch.testing.assert_close(loud[..., [0, 2, 3]], quiet[..., [0, 2, 3]], rtol=0, atol=1e-3)
    assert (loud[..., 1] - quiet[..., 1]).abs().max() < 0.15 * loud[..., 1].abs().max()


def test_silence_and_pure_tones_are_finite_and_steady() -> None:
    assert torch.isfinite(features_of(torch.zeros(1, 128 * 20))).all()
    time = torch.arange(128 * 40) / 16_000
    tone = 0.5 * torch.sin(2 * math.pi * 1000 * time)[None]
    disturbed = tone + 1e-7 * torch.randn(tone.shape, generator=torch.Generator().manual_seed(0))
    assert (features_of(tone) - features_of(disturbed)).abs().max() < 0.01


def test_gradients_of_pcen_are_finite_at_silence() -> None:
    stft, features = STFT(512, 128), Features(TRUNetConfig())
    audio = torch.zeros(1, 128 * 20)
    audio[:, 1280:] = torch.randn(1, 1280, generator=torch.Generator().manual_seed(0))
    real, imaginary, _ = stft.analyse(audio, torch.zeros(1, 384))
    values, _ = features(real[..., 1:], imaginary[..., 1:], torch.zeros(1, 258))
    values.square().sum().backward()
    for parameter in features.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
