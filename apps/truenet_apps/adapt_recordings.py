"""Recordings of a place as people have them: what is in a folder, what is wrong with it, what is held out."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from truenet.sources import SAMPLE_RATE_HZ, SHORTEST_SAMPLES, Recordings, decode, find_audio

SHORTEST_SECONDS = 10.0
SILENT_DBFS = -70.0
QUIET_DBFS = -55.0
CLIPPED_SHARE = 1e-3
SPEECH_LIKE_DB = (
    -3.0
)  # what the base model keeps as voice: of speech −0.2 dB, of 9 in 10 noises less than −4
LISTEN_SAMPLES = 8 * SAMPLE_RATE_HZ

Samples = NDArray[np.int16]
Part = Literal["train", "watch", "report"]
VoiceLevel = Callable[[NDArray[np.float32]], float]


@dataclasses.dataclass(frozen=True)
class Heard:
    """One file: its samples at 16 kHz, mono, and what was noticed."""

    name: str
    group: str
    samples: Samples
    rate_hz: int
    level_dbfs: float
    clipped_share: float
    voice_db: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE_HZ

    @property
    def is_silent(self) -> bool:
        """Nothing to learn from."""
        return self.level_dbfs < SILENT_DBFS

    @property
    def is_speech_like(self) -> bool:
        """Whether the base model takes it for a voice."""
        return self.voice_db > SPEECH_LIKE_DB

    def warnings(self) -> list[str]:
        """What a user should know about it."""
        found = []
        if self.is_silent:
            return [f"{self.name}: silent ({self.level_dbfs:.0f} dBFS), left out"]
        if self.level_dbfs < QUIET_DBFS:
            found.append(f"{self.name}: nearly silent ({self.level_dbfs:.0f} dBFS)")
        if self.clipped_share > CLIPPED_SHARE:
            found.append(f"{self.name}: {self.clipped_share:.1%} of it is clipped; record it lower")
        if self.rate_hz < SAMPLE_RATE_HZ:
            found.append(
                f"{self.name}: {self.rate_hz} Hz, so nothing above {self.rate_hz / 2000:g} kHz is learned of it"
            )
        if self.is_speech_like:
            found.append(
                f"{self.name}: sounds like speech; voices in noise recordings are learned as noise"
            )
        return found


def listen(folder: Path, voice_level_db: VoiceLevel) -> tuple[list[Heard], list[str]]:
    """Every noise recording in a folder, and warnings.

    Args:
        folder: searched recursively.
        voice_level_db: of 16 kHz samples, the level of what the model keeps as voice against the whole.

    Raises:
        ValueError: nothing that can be read, silence only, less than ten seconds, or nothing but speech.
    """
    heard, warnings = [], []
    for path in find_audio(folder):
        try:
            heard.append(_hear(folder, path, voice_level_db))
        except ValueError as error:
            warnings.append(f"{error}; left out")
    warnings += [warning for one in heard for warning in one.warnings()]
    loud = [one for one in heard if not one.is_silent and len(one.samples) >= SHORTEST_SAMPLES]
    if not loud:
        raise ValueError(_nothing(folder, heard, warnings))
    seconds = sum(one.seconds for one in loud)
    if seconds < SHORTEST_SECONDS:
        raise ValueError(
            f"{folder} holds {seconds:.1f} s of noise; give at least {SHORTEST_SECONDS:.0f} s "
            "(a minute or more, in several recordings, is better)"
        )
    if all(one.is_speech_like for one in loud):
        raise ValueError(
            f"everything in {folder} sounds like speech; --noise wants recordings without a talker. "
            "Clean speech goes to --speech"
        )
    return loud, warnings


def found(heard: Sequence[Heard]) -> str:
    """What is there, in words."""
    seconds = sum(one.seconds for one in heard)
    rates = ", ".join(f"{rate} Hz" for rate in sorted({one.rate_hz for one in heard}))
    levels = [one.level_dbfs for one in heard]
    return (
        f"{len(heard)} noise recordings, {seconds:.0f} s, at {rates}, "
        f"{min(levels):.0f} to {max(levels):.0f} dBFS"
    )


def _nothing(folder: Path, heard: list[Heard], warnings: list[str]) -> str:
    if heard and all(one.is_silent for one in heard):
        return f"{folder} holds only silence; is the microphone on, and the right one?"
    return (
        f"{folder} holds no recording that can be used: {warnings[0] if warnings else 'too short'}"
    )


def _hear(folder: Path, path: Path, voice_level_db: VoiceLevel) -> Heard:
    decoded = decode(path)
    mono = decoded.mean(axis=1)
    power = float(np.mean(np.square(mono, dtype=np.float64)))
    level_dbfs = 10 * math.log10(max(power, 1e-20))
    below = path.relative_to(folder)
    return Heard(
        name=below.as_posix(),
        group=below.parts[0] if len(below.parts) > 1 else "",
        samples=np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16),
        rate_hz=int(soundfile.info(path).samplerate),
        level_dbfs=level_dbfs,
        clipped_share=float(np.mean(np.abs(decoded) >= 0.9995)),
        voice_db=voice_level_db(mono[:LISTEN_SAMPLES]) if level_dbfs >= SILENT_DBFS else -math.inf,
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """Recordings to train on, to watch while training, and to report on. Any arrays whose last axis is time.

    by: whether the report has recordings of its own, or the ends of those that were trained on.
    weights: how much more often than others some groups are drawn (see `Recordings`).
    """

    pieces: dict[Part, list[NDArray[Any]]]
    groups: dict[Part, list[str]]
    by: Literal["recording", "time"]
    weights: tuple[tuple[str, float], ...] = ()

    def recordings(self, part: Part) -> Recordings:
        """The pieces (one-dimensional) of a part."""
        names = self.groups[part]
        weights = tuple((name, weight) for name, weight in self.weights if name in names)
        return dataclasses.replace(as_recordings(self.pieces[part], names), weights=weights)


def as_recordings(pieces: Sequence[Samples], groups: Sequence[str]) -> Recordings:
    """Arrays of 16 kHz int16 as recordings; groups are their sources."""
    ends = np.cumsum([0, *map(len, pieces)])
    return Recordings(np.concatenate(pieces), ends.astype(np.int64), tuple(groups))


def split(pieces: Sequence[NDArray[Any]], groups: Sequence[str]) -> Split:
    """Hold out the last quarter of the recordings of each group, or of each recording where there are fewer than three.

    The last ones by name, since neighbours (hall_01, hall_02) are often pieces of one recording. The last 15 % of
    what is trained on is watched.
    """
    held = _held_out(groups) if len(pieces) >= 3 else set()
    parts: dict[Part, list[NDArray[Any]]] = {"train": [], "watch": [], "report": []}
    names: dict[Part, list[str]] = {"train": [], "watch": [], "report": []}
    for index, (piece, group) in enumerate(zip(pieces, groups, strict=True)):
        for part, share in _cuts(piece, bool(held), index in held):
            if share.shape[-1] >= SHORTEST_SAMPLES:
                parts[part].append(share)
                names[part].append(group)
    return Split(parts, names, "recording" if held else "time")


def _held_out(groups: Sequence[str]) -> set[int]:
    held: set[int] = set()
    for group in dict.fromkeys(groups):
        members = [index for index, name in enumerate(groups) if name == group]
        if len(members) > 1:
            held.update(members[-max(1, len(members) // 4) :])
    return held or {len(groups) - 1}


def _cuts(
    piece: NDArray[Any], by_recording: bool, is_held: bool
) -> Iterable[tuple[Part, NDArray[Any]]]:
    length = piece.shape[-1]
    if is_held:
        return [("report", piece)]
    watched, reported = (0.85, 1.0) if by_recording else (0.65, 0.8)
    first, second = int(watched * length), int(reported * length)
    return [
        ("train", piece[..., :first]),
        ("watch", piece[..., first:second]),
        ("report", piece[..., second:]),
    ]


def fingerprint(pieces: Iterable[NDArray[Any]]) -> str:
    """Of what was heard, so that a run is resumed with the same recordings only."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(np.ascontiguousarray(piece).tobytes())
    return digest.hexdigest()[:24]
