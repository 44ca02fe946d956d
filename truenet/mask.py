"""The phase-aware β-sigmoid mask (PHM) of TRU-Net (arXiv 2102.03207 v3, section 3), in closed form.

The paper builds the mask of a source k from its magnitude and from the triangle that the two magnitudes |M_k|, |M_¬k|
and the unit form. With t = σ_k − σ_¬k the seven steps collapse to

    Re M_k = ½(1 + β²t),   Im M_k = ξ · ½ · sqrt((β² − 1)(1 − β²t²)),   M_¬k = 1 − M_k,

without division or inverse cosine. (β, βt, ξ) are elliptic coordinates of the complex plane with foci 0 and 1.
"""

from typing import Literal

import torch
from torch import Tensor

CHANNELS_PER_MASK = 5  # z_k, z_¬k, ψ_β, q_0, q_1
SMALLEST_DIFFERENCE = 1e-6
SMALLEST_SQUARE = 1e-8  # d√x/dx is infinite at 0, which is where the clip of β puts it


def phase_aware_mask(
    logits: Tensor, sign: Literal["continuous", "gumbel"], draw: bool = False
) -> tuple[Tensor, Tensor]:
    """Complex mask of the source k.

    Args:
        logits: (..., 5) the network's outputs z_k, z_¬k, ψ_β, q_0, q_1, in float32 or float64.
        sign: "continuous" ξ = tanh((q_0 − q_1)/2) in (−1, 1); "gumbel" ξ = ±1 with straight-through gradient.
        draw: sample the Gumbel noise (training); without it the larger of q_0, q_1 decides.

    Returns:
        real and imaginary part, each (...).
    """
    z_source, z_rest, beta_logit, q_plus, q_minus = logits.unbind(-1)
    difference = torch.tanh((z_source - z_rest) / 2)
    beta = 1 + torch.nn.functional.softplus(beta_logit)
    beta = torch.minimum(beta, 1 / difference.abs().clamp(min=SMALLEST_DIFFERENCE))
    squared = beta * beta
    real = (1 + squared * difference) / 2
    square = (squared - 1) * (1 - squared * difference * difference)
    size = torch.sqrt(square.clamp(min=SMALLEST_SQUARE)) / 2
    return real, _sign(q_plus - q_minus, sign, draw) * size


def _sign(difference: Tensor, sign: Literal["continuous", "gumbel"], draw: bool) -> Tensor:
    if sign == "continuous":
        return torch.tanh(difference / 2)
    if draw:  # the difference of two Gumbel variables is logistic
        uniform = torch.rand_like(difference).clamp(1e-6, 1 - 1e-6)
        difference = difference + torch.log(uniform) - torch.log1p(-uniform)
    soft = torch.tanh(difference / 2)
    hard = torch.where(difference >= 0, 1.0, -1.0).to(soft)
    return hard + soft - soft.detach()
