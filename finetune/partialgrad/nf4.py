"""4-bit NormalFloat (QLoRA, arXiv 2305.14314): 16 values that normally distributed weights use equally often.

Each row is cut into blocks of 64 weights, which share the scale that maps the largest of them to ±1. Two weights lie
in a byte: 4.5 bits a weight with the 32-bit scales.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 64

# The table of QLoRA's reference implementation (bitsandbytes); 7 is zero, exactly.
LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def encode(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to 4 bits.

    Args:
        weight: (outputs, inputs).

    Returns:
        codes (outputs, blocks · 32) bytes, and scales (outputs, blocks).
    """
    blocks = F.pad(weight.float(), (0, -weight.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    scales = blocks.abs().amax(2)
    levels = torch.tensor(LEVELS, device=weight.device)
    boundaries = (levels[1:] + levels[:-1]) / 2
    relative = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    codes = torch.bucketize(relative, boundaries).to(torch.uint8).flatten(1)
    return codes[:, ::2] * 16 + codes[:, 1::2], scales


def decode(codes: Tensor, scales: Tensor, inputs: int, dtype: torch.dtype) -> Tensor:
    """The weight (outputs, inputs) that `encode` rounded to.

    Args:
        codes, scales: what it returned.
        inputs: columns of the weight.
        dtype: of the result.
    """
    levels = torch.tensor(LEVELS, device=codes.device, dtype=dtype)
    pairs = torch.stack([codes >> 4, codes & 15], 2).flatten(1)
    weight = levels[pairs.int()].unflatten(1, (-1, BLOCK)) * scales.to(dtype)[..., None]
    return weight.flatten(1)[:, :inputs]
