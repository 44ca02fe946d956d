"""From float samples to the sample type of a file: rounded to nearest, and clipping counted.

libsndfile would cut off instead of rounding: a sample that comes back 1e-7 too low would be one
step lower.
"""

import numpy as np
from numpy.typing import NDArray

from truenet.fifo import Samples

WIDE = {"PCM_24": 24, "ALAC_24": 24, "ALAC_20": 20, "PCM_32": 32, "ALAC_32": 32, "DWVW_24": 24}
NARROW = {"PCM_S8": 8, "PCM_U8": 8, "DPCM_8": 8, "DWVW_12": 12}
UNBOUNDED = {"FLOAT", "DOUBLE"}
LOSSY = {"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}


def is_lossy(subtype: str) -> bool:
    """Whether this is a codec that keeps what one hears, not samples."""
    return subtype in LOSSY


def bits(subtype: str) -> int:
    """Bits that a sample of this type is rounded to; other codecs take 16."""
    return WIDE.get(subtype) or NARROW.get(subtype, 16)


def quantize(
    block: Samples, subtype: str
) -> tuple[NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32], int]:
    """The block as soundfile writes it without loss to a file of that type, and how many samples
    were clipped.

    Integers are left-justified in 16 or 32 bits, as libsndfile expects.
    """
    if subtype in UNBOUNDED:
        return block, 0
    if subtype in LOSSY:
        return block, int(np.count_nonzero(np.abs(block) > 1.0))
    width = bits(subtype)
    full_scale = 2.0 ** (width - 1)
    steps = np.rint(block.astype(np.float64) * full_scale)
    inside = np.clip(steps, -full_scale, full_scale - 1)
    clipped = int(np.count_nonzero(inside != steps))
    if width > 16:
        return inside.astype(np.int32) << (32 - width), clipped
    return inside.astype(np.int16) << (16 - width), clipped
