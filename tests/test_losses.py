"""Losses are smallest for the truth, do not depend on level, and are finite at silence."""

import pytest
import torch

from truenet.config import LossConfig
from truenet.losses import SEGMENT_SAMPLES, part_losses

ALL = LossConfig(waveform_cosine=1.0, magnitude=1.0, complex_spectrum=1.0)


def parts(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(3, 2, 8 * 4064, generator=generator)
        * torch.tensor([0.1, 0.03, 0.05])[:, None, None]
    )


def test_the_truth_has_the_smallest_loss() -> None:
    truth = parts()
    loss = part_losses(truth, truth, truth.sum(0), ALL)
    assert loss.terms["waveform_cosine"].item() == pytest.approx(
        -3 * len(SEGMENT_SAMPLES), abs=1e-4
    )
    assert loss.terms["magnitude"].item() == pytest.approx(0, abs=1e-8)
    assert loss.terms["complex_spectrum"].item() == pytest.approx(0, abs=1e-8)
    wrong = part_losses(truth + 0.3 * parts(1), truth, truth.sum(0), ALL)
    for name, value in loss.terms.items():
        assert wrong.terms[name] > value


def test_level_does_not_matter() -> None:
    truth, guess = parts(), parts() + 0.5 * parts(1)
    loud = part_losses(guess, truth, truth.sum(0), ALL)
    quiet = part_losses(guess / 100, truth / 100, truth.sum(0) / 100, ALL)
    assert quiet.total.item() == pytest.approx(loud.total.item(), rel=1e-4)


def test_an_absent_part_has_no_cosine_but_its_leak_costs() -> None:
    truth = parts()
    truth[1] = 0
    guess = truth.clone()
    guess[1] = 0.02 * torch.randn(truth[1].shape, generator=torch.Generator().manual_seed(2))
    exact = part_losses(truth, truth, truth.sum(0), ALL)
    leaking = part_losses(guess, truth, truth.sum(0), ALL)
    assert leaking.terms["waveform_cosine"] == exact.terms["waveform_cosine"]
    assert leaking.terms["magnitude"] > exact.terms["magnitude"]


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_gradients_are_finite(level: float) -> None:
    truth = parts() * level
    guess = (truth * 0.5).requires_grad_()
    part_losses(guess, truth, truth.sum(0), ALL).total.backward()
    assert guess.grad is not None
    assert torch.isfinite(guess.grad).all()


def test_weights_choose_parts_and_terms() -> None:
    truth = parts()
    guess = truth.clone()
    guess[2] += 0.1
    only_voice = LossConfig(parts=(1.0, 0.0, 0.0))
    assert (
        part_losses(guess, truth, truth.sum(0), only_voice).total
        == part_losses(truth, truth, truth.sum(0), only_voice).total
    )
    assert set(part_losses(guess, truth, truth.sum(0), LossConfig(waveform_cosine=0)).terms) == {
        "magnitude"
    }
