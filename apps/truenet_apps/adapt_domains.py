"""The new and the original domain: what each is mixed from, for training, for watching and for the report."""

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from truenet.config import MixingConfig
from truenet.evaluation import find_pairs
from truenet.extras import how_to_install
from truenet.levels import active_level_db
from truenet.mixing import Mixer, Mixture
from truenet.rooms import Rooms
from truenet.sources import SAMPLE_RATE_HZ, Recordings, decode, find_audio
from truenet_apps.adapt_config import AdaptConfig, for_scoring
from truenet_apps.adapt_recordings import (
    SHORTEST_SECONDS,
    Part,
    Split,
    as_recordings,
    split,
)

# As in the base's training (recipes/): a voice target must be dry, and these differ in that.
SPEECH_WEIGHTS = (
    *(("emodb", 2.0), ("vctk", 2.0), ("kerstin", 2.0), ("nathalie", 2.0), ("picovoice_s2i", 1.5)),
    *(("librispeech_crowd", 1.5), ("librispeech_other", 1.5), ("arabic_sc", 0.4)),
)
_TURNS: dict[Part, slice] = {"watch": slice(0, None, 2), "report": slice(1, None, 2)}
OVER_MIXTURES = "the interval is over mixtures of them, not over other places"


class Mixes(Protocol):
    """Batches that depend on nothing but their number."""

    def batch(self, step: int, crops: int, rank: int = 0) -> Mixture:
        """So many mixtures."""


@dataclasses.dataclass(frozen=True)
class Domain:
    """Mixtures to train on, to watch, to try strengths on and to report on.

    Those of a trial are made of what is watched, in the way of the report.

    held_out: in words, what the report's mixtures have in common with those that were trained on.
    """

    train: Mixes
    watch: Mixes
    trial: Mixes
    report: Mixes
    held_out: str


class PairMixer:
    """Crops of recorded pairs; what is in the noisy one beside the voice is noise."""

    def __init__(self, clean: Recordings, noisy: Recordings, crop_samples: int, seed: int) -> None:
        self.clean, self.noisy, self.crop_samples, self.seed = clean, noisy, crop_samples, seed

    def batch(self, step: int, crops: int, rank: int = 0) -> Mixture:
        """As of `Mixer`."""
        generator = np.random.default_rng((self.seed, rank, step))
        voice, mixture = torch.zeros(2, crops, self.crop_samples)
        for row in range(crops):
            index = self.noisy.draw(generator)
            start, end = (int(place) for place in self.noisy.offsets[index : index + 2])
            start += int(generator.integers(max(end - start - self.crop_samples, 0) + 1))
            end = min(end, start + self.crop_samples)
            for target, source in ((voice, self.clean), (mixture, self.noisy)):
                piece = source.samples[start:end].astype(np.float32) / np.float32(32768)
                target[row, : end - start] = torch.from_numpy(piece)
        return Mixture(mixture, voice, torch.zeros_like(voice), mixture - voice)


def mixed_domain(
    config: AdaptConfig, mixing: MixingConfig, noise: Split, speech: Split, rooms: dict[Part, Rooms]
) -> Domain:
    """A domain of noise recordings, with speech and rooms to mix them with."""

    def mixer(part: Part, settings: MixingConfig, seed: int) -> Mixer:
        return Mixer(settings, speech.recordings(part), noise.recordings(part), rooms[part], seed)

    count = len(noise.pieces["report"])
    held_out = (
        f"{count} noise recordings that were not trained on; {OVER_MIXTURES}"
        if noise.by == "recording"
        else "the last fifth of each noise recording: the interval covers speech, not the place"
    )
    return Domain(
        mixer("train", mixing, config.seed),
        mixer("watch", mixing, config.seed + 1),
        mixer("watch", for_scoring(mixing), config.seed + 3),
        mixer("report", for_scoring(mixing), config.seed + 2),
        held_out,
    )


def read_pairs(clean: Path, noisy: Path) -> tuple[Split, str]:
    """Pairs as arrays (2, samples) of 16 kHz int16, split; and what they are, in words.

    Raises:
        ValueError: they do not pair, are silent, or last less than ten seconds.
    """
    pairs = find_pairs(clean, noisy)
    pieces = []
    for pair in pairs:
        both = np.stack([decode(path)[:, 0] for path in (pair.clean, pair.noisy)])
        if active_level_db(torch.from_numpy(both[0])).item() < -70:
            raise ValueError(f"{pair.clean} is silent; a pair needs a clean voice")
        pieces.append(np.clip(np.rint(both * 32768), -32768, 32767).astype(np.int16))
    seconds = sum(piece.shape[1] for piece in pieces) / SAMPLE_RATE_HZ
    if seconds < SHORTEST_SECONDS:
        raise ValueError(f"{noisy} holds {seconds:.1f} s; give at least {SHORTEST_SECONDS:.0f} s")
    return split(pieces, [""] * len(pieces)), f"{len(pairs)} pairs, {seconds:.0f} s"


def paired_domain(config: AdaptConfig, pairs: Split) -> Domain:
    """A domain of recorded pairs."""

    def mixer(part: Part, crop_samples: int, seed: int) -> PairMixer:
        clean, noisy = (
            as_recordings([piece[row] for piece in pairs.pieces[part]], pairs.groups[part])
            for row in (0, 1)
        )
        return PairMixer(clean, noisy, crop_samples, seed)

    count, whole = len(pairs.pieces["report"]), for_scoring(config.mixing).crop_samples
    return Domain(
        mixer("train", config.mixing.crop_samples, config.seed),
        mixer("watch", config.mixing.crop_samples, config.seed + 1),
        mixer("watch", whole, config.seed + 3),
        mixer("report", whole, config.seed + 2),
        f"{count} pairs that were not trained on; {OVER_MIXTURES}"
        if pairs.by == "recording"
        else "the ends of the pairs",
    )


def read_speech(folder: Path) -> Split:
    """A folder of clean speech, split by recording.

    Raises:
        ValueError: nothing that can be read, or less than ten seconds.
    """
    recordings = Recordings.from_folders([folder])
    if recordings.hours * 3600 < SHORTEST_SECONDS:
        raise ValueError(
            f"{folder} holds {recordings.hours * 3600:.1f} s of speech; give at least "
            f"{SHORTEST_SECONDS:.0f} s, or leave --speech out"
        )
    return split(_pieces(recordings), recordings.sources)


def read_rooms(folder: Path, direct_ms: float) -> dict[Part, Rooms]:
    """Room responses of the place; the last quarter is held out where there are four or more.

    Raises:
        ValueError: nothing that can be read.
    """
    count = len(find_audio(folder))
    rooms = Rooms.from_folders([folder], direct_ms)
    held = len(rooms) // 4 if count >= 4 else 0
    train = _some(rooms, slice(len(rooms) - held))
    report = _some(rooms, slice(-held, None)) if held else train
    return {"train": train, "watch": train, "report": report}


def open_data() -> tuple[Split, Split, dict[Part, Rooms]]:
    """Noise, speech and rooms of the data package; its held-out part is watched and reported on by turns.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import truenet_data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the open recordings that yours are mixed with are not installed; {how_to_install('train')}"
        ) from error
    train = {
        kind: Recordings.from_folders([truenet_data.folder("train", kind)])
        for kind in ("noise", "speech")
    }
    heldout = {
        kind: Recordings.from_folders([truenet_data.folder("heldout", kind)])
        for kind in ("noise", "speech")
    }
    noise, speech = (_by_turns(train[kind], heldout[kind]) for kind in ("noise", "speech"))
    direct_ms = MixingConfig().direct_ms
    held = Rooms.from_folders([truenet_data.folder("heldout", "rooms")], direct_ms)
    rooms: dict[Part, Rooms] = {
        "train": Rooms.from_folders([truenet_data.folder("train", "rooms")], direct_ms),
        **{part: _some(held, turn) for part, turn in _TURNS.items()},
    }
    return noise, dataclasses.replace(speech, weights=SPEECH_WEIGHTS), rooms


def _by_turns(train: Recordings, heldout: Recordings) -> Split:
    """What is watched must be as new to the base as what is reported on, or it hides what is lost elsewhere."""
    pieces = _pieces(heldout)
    return Split(
        {"train": _pieces(train), **{part: pieces[turn] for part, turn in _TURNS.items()}},
        {
            "train": list(train.sources),
            **{part: list(heldout.sources[turn]) for part, turn in _TURNS.items()},
        },
        "recording",
    )


def _some(rooms: Rooms, which: slice) -> Rooms:
    return dataclasses.replace(rooms, direct=rooms.direct[which], late=rooms.late[which])


def _pieces(recordings: Recordings) -> list[np.ndarray]:
    return np.split(recordings.samples, recordings.offsets[1:-1])
