"""What recordings of talk in the place say about an adaptation, without a clean voice to compare with.

Levels and an estimate of the SNR, before and after. They tell how much is left in the pauses and whether the voice got
quieter, not how it sounds; so they are reported beside the verdict and have no part in it.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from truenet.levels import ACTIVE_FRAME_SAMPLES, ACTIVE_RANGE_DB
from truenet.modelfile import ModelFile
from truenet.sources import SAMPLE_RATE_HZ, decode, find_audio
from truenet.verification import voice_alone
from truenet_apps.metering import LevelMeter

HEARD_SAMPLES = 20 * SAMPLE_RATE_HZ
QUIETER_VOICE_DB = -1.0
MEANING = (
    "no clean voice to compare with: less in the pauses at the same talk level is better; "
    "what became of the voice's sound they cannot tell"
)

Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Levels:
    """Of one signal: dBFS in the pauses and where there is talk, and the SNR by `LevelMeter`; NaN for none."""

    pauses_dbfs: float
    talk_dbfs: float
    snr_db: float


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """Means over the recordings."""

    recordings: int
    noisy: Levels
    before: Levels
    after: Levels

    def warnings(self) -> list[str]:
        """What a user should know about it."""
        change = self.after.talk_dbfs - self.before.talk_dbfs
        if not change < QUIETER_VOICE_DB:
            return []
        return [f"in the unpaired recordings the voice got {-change:.1f} dB quieter than before"]


def read_unpaired(folder: Path) -> list[Samples]:
    """The first twenty seconds of every recording in a folder and below, at 16 kHz.

    Raises:
        ValueError: there are none, or one cannot be read.
    """
    return [decode(path)[:HEARD_SAMPLES].mean(axis=1) for path in find_audio(folder)]


def listen_to(recordings: Sequence[Samples], base: ModelFile, adapted: ModelFile) -> Unpaired:
    """Levels of recordings, and of what both models take for the voice in them."""
    rows = []
    for samples in recordings:
        before, after = (voice_alone(model, samples) for model in (base, adapted))
        is_talk = talk_frames(before)
        rows.append([levels(signal, is_talk) for signal in (samples, before, after)])
    return Unpaired(len(rows), *(_mean(column) for column in zip(*rows, strict=True)))


def talk_frames(voice: Samples) -> NDArray[np.bool_]:
    """Which frames hold talk: those within 25 dB of the loudest of what the base takes for the voice.

    One choice for all signals of a recording, so that their levels can be compared.
    """
    power = _frame_powers(voice)
    return power >= power.max(initial=0.0) * 10 ** (-ACTIVE_RANGE_DB / 10)


def levels(signal: Samples, is_talk: NDArray[np.bool_]) -> Levels:
    """The levels of one signal."""
    power = _frame_powers(signal)
    meter = LevelMeter(SAMPLE_RATE_HZ)
    meter.add(signal[:, None])
    snr_db = meter.snr_db
    return Levels(
        _decibels(power[~is_talk]),
        _decibels(power[is_talk]),
        math.nan if snr_db is None else snr_db,
    )


def lines(unpaired: Unpaired) -> list[str]:
    """A small table, and what it means."""
    signals = (unpaired.noisy, unpaired.before, unpaired.after)
    rows = (
        ("pauses, dBFS", [one.pauses_dbfs for one in signals]),
        ("talk, dBFS", [one.talk_dbfs for one in signals]),
        ("SNR (estimate)", [one.snr_db for one in signals]),
    )
    text = [f"{f'{unpaired.recordings} unpaired':<16} {'noisy':>8} {'before':>8} {'after':>8}"]
    for name, values in rows:
        text.append(f"  {name:<14} " + " ".join(f"{value:>8.1f}" for value in values))
    return [*text, f"  ({MEANING})"]


def as_json(unpaired: Unpaired) -> dict[str, object]:
    """Plain values; what could not be measured is null."""
    facts: dict[str, object] = {"recordings": unpaired.recordings, "meaning": MEANING}
    for name in ("noisy", "before", "after"):
        values = dataclasses.asdict(getattr(unpaired, name))
        facts[name] = {n: v if math.isfinite(v) else None for n, v in values.items()}
    return facts


def _frame_powers(signal: Samples) -> NDArray[np.float64]:
    whole = len(signal) // ACTIVE_FRAME_SAMPLES * ACTIVE_FRAME_SAMPLES
    frames = signal[:whole].reshape(-1, ACTIVE_FRAME_SAMPLES)
    return np.mean(np.square(frames, dtype=np.float64), axis=1)


def _decibels(powers: NDArray[np.float64]) -> float:
    return 10 * math.log10(max(float(powers.mean()), 1e-12)) if powers.size else math.nan


def _mean(column: Sequence[Levels]) -> Levels:
    """Of every level, over the recordings that have it."""
    found = []
    for field in dataclasses.fields(Levels):
        values = np.array([getattr(one, field.name) for one in column])
        finite = values[np.isfinite(values)]
        found.append(float(finite.mean()) if finite.size else math.nan)
    return Levels(*found)
