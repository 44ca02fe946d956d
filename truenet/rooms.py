"""Room responses, each split into the direct sound (voice) and what comes later (room).

voice + room is the recording in the room exactly: the two parts of a response add up to the whole.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from truenet.sources import SAMPLE_RATE_HZ, decode, find_audio

RESPONSE_SAMPLES = 19_200  # 1.2 s
LEAD_SAMPLES = 40  # kept before the direct path: a band-limited impulse begins before its peak
CROSSFADE_SAMPLES = 24  # 1.5 ms, around the end of the direct part


@dataclasses.dataclass(frozen=True)
class Rooms:
    """Responses at 16 kHz, float32 of shape (rooms, RESPONSE_SAMPLES).

    The direct path of each lies at LEAD_SAMPLES, the direct part has unit energy, and direct + late
    is the whole response.
    """

    direct: NDArray[np.float32]
    late: NDArray[np.float32]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.direct)

    @classmethod
    def from_folders(cls, folders: Iterable[str | Path], direct_ms: float) -> "Rooms":
        """Read every room response in the folders and below; of several channels the first.

        Args:
            folders: searched recursively for audio files.
            direct_ms: how much after the direct path still belongs to the voice.

        Raises:
            ValueError: a folder is missing or holds no response that can be read.
        """
        paths = [path for folder in folders for path in find_audio(Path(folder))]
        responses, skipped = [], []
        for path in paths:
            try:
                responses.append(align(decode(path)[:, 0]))
            except ValueError:
                skipped.append(str(path))
        if not responses:
            raise ValueError(
                f"none of the {len(paths)} room responses can be read, the first is {paths[0]}"
            )
        return cls(*split(np.stack(responses), direct_ms), tuple(skipped))

    @classmethod
    def simulate(cls, rooms: int, direct_ms: float, seed: int = 0) -> "Rooms":
        """Make shoebox rooms by the image method; the same seed gives the same rooms.

        Sides 3-10 m, RT60 0.15-0.8 s, talker 0.5-3 m from the microphone.
        """
        generator = np.random.default_rng(seed)
        return cls(*split(np.stack([align(_shoebox(generator)) for _ in range(rooms)]), direct_ms))


def align(response: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the direct path to LEAD_SAMPLES, and cut or pad to RESPONSE_SAMPLES.

    The direct path is the first sample at least half as large as the largest, which may be a
    reflection.

    Raises:
        ValueError: the response is silent.
    """
    magnitude = np.abs(response)
    if not magnitude.max() > 0:
        raise ValueError("a room response is silent")
    direct_path = int(np.argmax(magnitude >= 0.5 * magnitude.max()))
    padded = np.concatenate([np.zeros(LEAD_SAMPLES, np.float32), response])[direct_path:]
    aligned = np.zeros(RESPONSE_SAMPLES, np.float32)
    aligned[: len(padded)] = padded[:RESPONSE_SAMPLES]
    # A response that is cut must not end in a step.
    fade_samples = RESPONSE_SAMPLES // 10
    aligned[-fade_samples:] *= np.linspace(1, 0, fade_samples, dtype=np.float32)
    return aligned


def split(
    responses: NDArray[np.float32], direct_ms: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split aligned responses (rooms, RESPONSE_SAMPLES) into their direct and their late part.

    The cut is a crossfade around direct_ms after the direct path. Both parts are scaled so that the
    direct one has unit energy.

    Raises:
        ValueError: direct_ms is outside of 1 to 1000.
    """
    cut_samples = LEAD_SAMPLES + direct_ms * SAMPLE_RATE_HZ / 1000
    if not 1 <= direct_ms <= 1000:
        raise ValueError(f"direct_ms is {direct_ms}; give 1 to 1000, 2.5 is the direct path alone")
    phase = (np.arange(RESPONSE_SAMPLES) - cut_samples) / CROSSFADE_SAMPLES
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(phase + 0.5, 0, 1))
    direct = responses * window.astype(np.float32)
    scale = 1 / np.sqrt((direct**2).sum(axis=1, keepdims=True))
    return direct * scale, (responses - direct) * scale


def _shoebox(generator: np.random.Generator) -> NDArray[np.float32]:
    # Needed only where no rooms are given.
    import pyroomacoustics

    sides = generator.uniform([3.0, 3.0, 2.3], [10.0, 8.0, 4.0])
    talker, microphone = (generator.uniform(0.5, sides - 0.5) for _ in range(2))
    distance = np.linalg.norm(talker - microphone)
    wanted = generator.uniform(0.5, 3.0)
    if distance > wanted:
        microphone = talker + (microphone - talker) * wanted / distance
    absorption, order = pyroomacoustics.inverse_sabine(generator.uniform(0.15, 0.8), sides)
    room = pyroomacoustics.ShoeBox(
        sides,
        fs=SAMPLE_RATE_HZ,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, 30),
    )
    room.add_source(talker)
    room.add_microphone(microphone)
    room.compute_rir()
    return np.asarray(room.rir[0][0], np.float32)
