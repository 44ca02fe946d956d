"""Eight booleans in a byte, in the order of memory, so that no layout has to be copied into another.

Eight booleans are read as one 64-bit number. The multiplication moves the lowest bit of byte i to bit 56 + i (no two
products meet, so nothing carries); on the way back it copies the byte to all eight places, of which each keeps a bit.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_TO_TOP_BYTE = 0x0102040810204080
_TO_ALL_BYTES = 0x0101010101010101
_BIT_OF_ITS_PLACE = 0x8040201008040201 - (1 << 64)  # as a signed number


def pack_bits(truth: Tensor) -> Tensor:
    """Booleans to bytes, eight in each.

    Args:
        truth: of any shape and dense in memory, as results of comparisons are.
    """
    flat = truth.as_strided((truth.numel(),), (1,)).view(torch.uint8)
    if flat.numel() % 8:
        flat = F.pad(flat, (0, -flat.numel() % 8))
    return flat.view(torch.int64).mul(_TO_TOP_BYTE).bitwise_right_shift_(56).to(torch.uint8)


def unpack_bits(packed: Tensor, shape: torch.Size, strides: tuple[int, ...]) -> Tensor:
    """Undo `pack_bits` for a tensor of this shape and these strides: bytes, not zero where it was true."""
    spread = packed.to(torch.int64).mul_(_TO_ALL_BYTES).bitwise_and_(_BIT_OF_ITS_PLACE)
    return spread.view(torch.uint8).as_strided(shape, strides)
