"""The closed form of PHM equals the paper's seven steps; masks reach all of the complex plane."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from truenet.mask import phase_aware_mask


def seven_steps(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Section 3 of the paper, step by step: the mask of the source and the magnitude of the rest's."""
    z_source, z_rest, beta_logit, q_plus, q_minus = logits.unbind(-1)
    sigma = torch.sigmoid(z_source - z_rest)
    beta = 1 + torch.nn.functional.softplus(beta_logit)
    beta = torch.minimum(beta, 1 / (2 * sigma - 1).abs())
    source, rest = beta * sigma, beta * (1 - sigma)
    cosine = (1 + source**2 - rest**2) / (2 * source)
    sine = torch.sqrt((1 - cosine**2).clamp(min=0))
    sign = torch.where(q_plus >= q_minus, 1.0, -1.0)
    return torch.complex(source * cosine, sign * source * sine), rest


def test_closed_form_equals_the_seven_steps() -> None:
    torch.manual_seed(0)
    logits = torch.randn(10_000, 5, dtype=torch.float64) * 2
    real, imaginary = phase_aware_mask(logits, "gumbel")
    expected, rest = seven_steps(logits)
    # Where the clip is active both forms lose half their digits to the square root near zero.
    torch.testing.assert_close(real, expected.real, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(imaginary, expected.imag, rtol=0, atol=6e-5)
    magnitude_of_rest = (1 - torch.complex(real, imaginary)).abs()
    torch.testing.assert_close(magnitude_of_rest, rest, rtol=0, atol=6e-5)
    unclipped = imaginary.abs() > 1e-3
    assert unclipped.double().mean() > 0.3
    torch.testing.assert_close(imaginary[unclipped], expected.imag[unclipped], rtol=0, atol=1e-9)


@given(st.floats(-3, 3), st.floats(-3, 3).filter(lambda y: abs(y) > 1e-3))
def test_every_mask_off_the_real_axis_can_be_said(real: float, imaginary: float) -> None:
    """The inverse map: elliptic coordinates with foci 0 and 1."""
    to_zero, to_one = math.hypot(real, imaginary), math.hypot(real - 1, imaginary)
    beta, difference = to_zero + to_one, to_zero - to_one
    logits = torch.tensor(
        [
            2 * math.atanh(difference / beta),
            0,
            math.log(math.expm1(beta - 1)),
            math.copysign(20, imaginary),
            0,
        ],
        dtype=torch.float64,
    )
    found = phase_aware_mask(logits, "gumbel")
    assert found[0].item() == pytest.approx(real, abs=1e-6)
    assert found[1].item() == pytest.approx(imaginary, abs=1e-4)


@pytest.mark.parametrize("sign", ["continuous", "gumbel"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 300.0])
def test_gradients_are_finite_at_the_clip_and_beyond(
    scale: float, sign: Literal["continuous", "gumbel"]
) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(1000, 5) * scale).requires_grad_()
    real, imaginary = phase_aware_mask(logits, sign, draw=True)
    (real.square().sum() + imaginary.square().sum() + imaginary.sum()).backward()
    assert torch.isfinite(real).all()
    assert torch.isfinite(imaginary).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_continuous_sign_passes_zero_where_the_hard_one_jumps() -> None:
    steps = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    zeros = torch.zeros_like(steps)
    logits = torch.stack([zeros, zeros, zeros, steps, zeros], dim=1)
    _, soft = phase_aware_mask(logits, "continuous")
    _, hard = phase_aware_mask(logits, "gumbel")
    assert soft.diff().abs().max() < 1e-3
    assert hard.diff().abs().max() > 1
    assert torch.equal(soft[1:-1].sign()[:999], hard[1:-1].sign()[:999])


def test_the_hard_sign_is_drawn_with_its_probability() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(20_000, 5)
    logits[:, 3] = 1.0
    _, imaginary = phase_aware_mask(logits, "gumbel", draw=True)
    assert (imaginary > 0).float().mean().item() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.02)
