"""Weights as whole numbers of 4, 6, 7 or 8 bits: one scale for every output channel, symmetric about zero.

Fewer than eight bits are packed: of every k + 1 numbers, k = bits / (8 − bits), the first k lie in the low bits of
k bytes and the last one is cut into the k remainders. So 4 bits take 1 byte for 2, 6 bits 3 bytes for 4, 7 bits
7 bytes for 8, and all are unpacked by the same few float operations.
"""

import numpy as np
from numpy.typing import NDArray

WIDTHS = (4, 6, 7, 8)
_CLIPPING = np.linspace(0.6, 1.0, 17)  # largest weight kept, of the largest there is
_SMALLEST_SCALE = np.float32(2.0**-24)  # the smallest float16 above zero

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]


def largest_code(bits: int) -> int:
    """Codes of a width are −largest to largest."""
    return int(2 ** (bits - 1)) - 1


def round_rows(rows: Floats, bits: int, scales: Floats | None = None) -> tuple[Codes, Floats]:
    """Round every row with the scale, of those tried, that leaves the least mean square error.

    Args:
        rows: (channels, weights of a channel).
        bits: one of `WIDTHS`.
        scales: (channels, 1) that are fixed.

    Returns:
        codes like `rows`, and scales (channels, 1), which float16 holds exactly: weights ≈ codes · scales.
    """
    top = largest_code(bits)
    if scales is not None:
        return _codes(rows, scales, top).astype(np.int8), scales
    peak = np.abs(rows).max(axis=1, keepdims=True)
    best = np.full_like(peak, np.inf)
    scales = np.zeros_like(peak)
    for share in _CLIPPING:
        scale = (peak * np.float32(share / top)).astype(np.float16).astype(np.float32)
        scale = np.maximum(scale, _SMALLEST_SCALE)
        error = np.square(_codes(rows, scale, top) * scale - rows).sum(axis=1, keepdims=True)
        scales = np.where(error < best, scale, scales)
        best = np.minimum(error, best)
    return _codes(rows, scales, top).astype(np.int8), scales


def _codes(rows: Floats, scales: Floats, top: int) -> Floats:
    return np.clip(np.rint(rows / scales), -top, top)


def bytes_in_group(bits: int) -> int:
    """k: so many bytes hold k + 1 numbers of a width below eight."""
    return bits // (8 - bits)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` numbers take."""
    if bits == 8:
        return count
    group = bytes_in_group(bits)
    return -(-count // (group + 1)) * group


def pack(codes: Codes, bits: int) -> NDArray[np.uint8]:
    """Flat codes of 4, 6 or 7 bits as bytes (k, groups); number i of group g is code i · groups + g."""
    group = bytes_in_group(bits)
    groups = -(-codes.size // (group + 1))
    flat = np.zeros((group + 1) * groups, np.uint8)
    flat[: codes.size] = codes.astype(np.int16) + 2 ** (bits - 1)
    numbers = flat.reshape(group + 1, groups)
    spare = 8 - bits
    pieces = numbers[-1] >> (spare * np.arange(group, dtype=np.uint8)[:, None]) & (2**spare - 1)
    return (numbers[:-1] | pieces << bits).astype(np.uint8)
