"""Room responses, each split into what belongs to the voice and the reverberation that follows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from truenet.sources import SAMPLE_RATE_HZ, Float32, Recordings

LONGEST_SAMPLES = int(1.2 * SAMPLE_RATE_HZ)
BEFORE_SAMPLES = SAMPLE_RATE_HZ // 500  # the rising edge of a band-limited direct path
_FADE_SAMPLES = SAMPLE_RATE_HZ // 500


@dataclass(frozen=True)
class Rooms:
    """Responses with the direct path at sample 0; what precedes it (at most 2 ms) wraps round to the end.

    direct, late: (count, LONGEST_SAMPLES) float32; their sum is the response, whose direct part has unit energy.
    """

    direct: Tensor
    late: Tensor

    def __len__(self) -> int:
        return len(self.direct)


def split_rooms(responses: Recordings | list[Float32], direct_ms: float) -> Rooms:
    """Cut responses `direct_ms` after their largest sample, which is taken as the direct path.

    Args:
        responses: at 16 kHz; longer ones than 1.2 s are cut.
        direct_ms: how much of the response after the direct path belongs to the voice.
    """
    whole = torch.from_numpy(np.stack([_align(responses[i]) for i in range(len(responses))]))
    end = round(direct_ms * SAMPLE_RATE_HZ / 1000)
    keep = torch.zeros(LONGEST_SAMPLES)
    fade = torch.arange(_FADE_SAMPLES) / _FADE_SAMPLES
    keep[:end] = 1
    keep[end : end + _FADE_SAMPLES] = torch.cos(fade * torch.pi / 2).square()
    keep[-BEFORE_SAMPLES:] = 1
    direct = whole * keep
    scale = 1 / direct.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
    return Rooms(direct * scale, (whole - direct) * scale)


def _align(response: Float32) -> Float32:
    peak = int(np.abs(response).argmax())
    before = min(BEFORE_SAMPLES, peak)
    after = response[peak : peak + LONGEST_SAMPLES - before]
    aligned = np.zeros(LONGEST_SAMPLES, np.float32)
    aligned[: len(after)] = after
    if before:
        aligned[-before:] = response[peak - before : peak]
    return aligned


def simulate_rooms(count: int, seed: int) -> list[Float32]:
    """Shoebox rooms by the image method (pyroomacoustics): 3–10 m, reverberation 0.15–0.9 s, talker 0.5–4 m away.

    Needs the extra `train`.
    """
    import pyroomacoustics

    generator = np.random.default_rng(seed)
    responses: list[Float32] = []
    while len(responses) < count:
        size = generator.uniform((3.0, 3.0, 2.3), (10.0, 8.0, 4.0))
        reverberation_s = generator.uniform(0.15, 0.9)
        microphone, talker = generator.uniform(0.4, size - 0.4), generator.uniform(0.4, size - 0.4)
        if not 0.5 < np.linalg.norm(microphone - talker) < 4:
            continue
        try:
            absorption, order = pyroomacoustics.inverse_sabine(reverberation_s, size)
        except ValueError:  # no material is that dry in a room of this size
            continue
        room = pyroomacoustics.ShoeBox(
            size,
            fs=SAMPLE_RATE_HZ,
            materials=pyroomacoustics.Material(absorption),
            max_order=min(order, 17),
        )
        room.add_source(talker)
        room.add_microphone(microphone)
        room.compute_rir()
        response: npt.NDArray[np.float64] = room.rir[0][0]
        responses.append(response.astype(np.float32))
    return responses
