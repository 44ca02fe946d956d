"""Scores of pairs of files: the noisy one and what was made of it, against the clean voice.

Pairs are files of the same name in two folders. A name may say its SNR (`snr05`) and whether there
is a room (`_dry`, `_rev`); means are over everything, each SNR and each kind. What a pair gains is
the score of its enhanced file less that of its noisy one. The interval of the mean gain is
Student's t at 95 %, over the pairs that have both scores.
"""

import dataclasses
import functools
import math
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from truenet.metrics import SAMPLE_RATE_HZ, NotScored, measure, scoring_package

Samples = npt.NDArray[np.float32]
Enhance = Callable[[Samples, int], Samples]  # (samples, sample_rate_hz) -> as many samples

_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".w64"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """A clean and a noisy file of one name, and the file that was made of the noisy one if any.

    name: the path within the folder, without its ending.
    """

    name: str
    clean: Path
    noisy: Path
    enhanced: Path | None = None

    @property
    def snr_db(self) -> float | None:
        """What the name says: 5 for `mix_02_snr05_dry`."""
        found = re.search(r"snr(-?\d+(?:\.\d+)?)", self.name, re.IGNORECASE)
        return float(found[1]) if found else None

    @property
    def kind(self) -> str | None:
        """What the name says: "dry", or "rev" where there is a room."""
        found = re.search(r"_(dry|rev)(?![a-z])", self.name, re.IGNORECASE)
        return found[1].lower() if found else None


@dataclasses.dataclass(frozen=True)
class ModelEnhance:
    """An `Enhance` by `truenet.Enhancer`, which each process opens once."""

    model: str | None = None
    voice_db: float = 0.0
    room_db: float = -math.inf
    noise_db: float = -math.inf

    def __call__(self, samples: Samples, sample_rate_hz: int) -> Samples:
        return _opened(self)(samples, sample_rate_hz)


@functools.lru_cache(maxsize=1)
def _opened(settings: ModelEnhance) -> Enhance:
    from truenet.enhancer import Enhancer

    enhance: Enhance = Enhancer(**dataclasses.asdict(settings)).enhance
    return enhance


@dataclasses.dataclass(frozen=True)
class Row:
    """The scores of one pair, by metric."""

    pair: Pair
    seconds: float
    noisy: dict[str, float]
    enhanced: dict[str, float]

    def gain(self, metric: str) -> float:
        """The enhanced score less the noisy one; NaN where either is missing or infinite."""
        scores = self.noisy[metric], self.enhanced[metric]
        return scores[1] - scores[0] if all(map(math.isfinite, scores)) else math.nan

    @property
    def reasons(self) -> list[str]:
        """Why scores are missing, each reason once."""
        found: dict[str, None] = {}
        for name, scores in (("noisy", self.noisy), ("enhanced", self.enhanced)):
            for metric, score in scores.items():
                if isinstance(score, NotScored):
                    found[f"{name}: {score.reason}"] = None
                elif not math.isfinite(score):
                    found[f"{name}: {metric} is infinite"] = None
        return list(found)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Means of one metric over the pairs that have both scores, and the gain's 95 % interval."""

    pairs: int
    noisy: float
    enhanced: float
    gain: float
    low: float
    high: float


def find_pairs(clean: Path, noisy: Path, enhanced: Path | None = None) -> list[Pair]:
    """The files of the same name in the folders, sorted by name.

    Raises:
        ValueError: a folder is missing or has no audio, no name is in both, a file of `noisy` has
            no enhanced one, or the files of a pair differ in rate or length or are not mono.
    """
    cleans, noisies = _audio_files(clean), _audio_files(noisy)
    names = sorted(cleans.keys() & noisies.keys())
    if not names:
        raise ValueError(
            f"no file in {noisy} has the name of one in {clean}: "
            f"{min(noisies)!r} and {min(cleans)!r}, for instance, do not pair"
        )
    made = _audio_files(enhanced) if enhanced else {}
    missing = [name for name in names if enhanced and name not in made]
    if missing:
        raise ValueError(f"{enhanced} lacks {len(missing)} of {len(names)} files: {missing[0]}")
    pairs = [Pair(name, cleans[name], noisies[name], made.get(name)) for name in names]
    for pair in pairs:
        _check_alike(pair)
    return pairs


def _audio_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no audio ({', '.join(sorted(_SUFFIXES))})")
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    if len(files) < len(paths):
        twice = next(path for path in paths if path not in files.values())
        raise ValueError(f"{folder} has two files named {twice.stem}: keep one of them")
    return files


def _check_alike(pair: Pair) -> None:
    clean = _header(pair.clean)
    for path in filter(None, (pair.noisy, pair.enhanced)):
        other = _header(path)
        if other.samplerate != clean.samplerate:
            rates = f"{other.samplerate} Hz, {pair.clean} {clean.samplerate} Hz"
            raise ValueError(f"{path} has {rates}: resample one of them")
        if other.frames != clean.frames:
            lengths = f"{other.frames} samples, {pair.clean} {clean.frames}"
            raise ValueError(f"{path} has {lengths}: align and cut them to the same length")


def _header(path: Path) -> Any:
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be read as audio: {error.error_string}") from error
    if header.channels != 1:
        raise ValueError(f"{path} has {header.channels} channels: pairs are scored in mono")
    return header


def evaluate(
    pairs: Sequence[Pair], enhance: Enhance, metrics: Sequence[str], jobs: int = 1
) -> Iterator[Row]:
    """Score every pair, in their order, in `jobs` processes.

    Args:
        enhance: makes the enhanced samples of pairs that have no enhanced file; with more than one
            job it is pickled.
        metrics: names in `truenet.metrics.METRICS`.
    """
    score = functools.partial(score_pair, enhance=enhance, metrics=metrics)
    if jobs == 1:
        yield from map(score, pairs)
        return
    # Not forked: onnxruntime and BLAS threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(pairs)), context) as pool:
        yield from pool.map(score, pairs)


def score_pair(pair: Pair, enhance: Enhance, metrics: Sequence[str]) -> Row:
    """Enhance at the pair's own rate, score at 16 kHz."""
    clean, rate_hz = _read(pair.clean)
    noisy, _ = _read(pair.noisy)
    enhanced = _read(pair.enhanced)[0] if pair.enhanced else enhance(noisy, rate_hz)
    clean, noisy, enhanced = (
        soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ) for samples in (clean, noisy, enhanced)
    )
    return Row(
        pair,
        clean.size / SAMPLE_RATE_HZ,
        measure(clean, noisy, metrics),
        measure(clean, enhanced, metrics),
    )


def _read(path: Path) -> tuple[Samples, int]:
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be read as audio: {error.error_string}") from error
    return samples, rate_hz


def summarize(rows: Sequence[Row], metric: str) -> Summary:
    """Means and the 95 % interval of the mean gain (Student's t; NaN for fewer than two pairs)."""
    scored = [row for row in rows if math.isfinite(row.gain(metric))]
    if not scored:
        return Summary(0, *[math.nan] * 5)
    gains = np.array([row.gain(metric) for row in scored])
    half = math.nan
    if len(scored) > 1:
        quantile = scoring_package("scipy.stats").t.ppf(0.975, len(scored) - 1)
        half = float(quantile * gains.std(ddof=1) / math.sqrt(len(scored)))
    gain = float(gains.mean())
    noisy, enhanced = (
        float(np.mean([getattr(row, who)[metric] for row in scored]))
        for who in ("noisy", "enhanced")
    )
    return Summary(len(scored), noisy, enhanced, gain, gain - half, gain + half)


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """All rows, those of each SNR and those of each kind, by a label for people."""
    found = {"all": list(rows)}
    for snr_db in sorted({row.pair.snr_db for row in rows if row.pair.snr_db is not None}):
        found[f"{snr_db:g} dB"] = [row for row in rows if row.pair.snr_db == snr_db]
    for kind in sorted({row.pair.kind for row in rows if row.pair.kind is not None}):
        found[kind] = [row for row in rows if row.pair.kind == kind]
    return found


def worst(rows: Sequence[Row], metric: str, count: int = 5) -> list[Row]:
    """The rows that gain least by `metric`, the least first, of those that have the score."""
    scored = [row for row in rows if math.isfinite(row.gain(metric))]
    return sorted(scored, key=lambda row: row.gain(metric))[:count]


def report(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    """Everything as plain JSON values; a missing score is null and has a reason beside it."""
    ranked_by = "pesq_wb" if "pesq_wb" in metrics else metrics[0]
    result = {
        "metrics": list(metrics),
        "interval": "95 %, Student's t of the paired gain",
        "groups": [
            {
                "name": name,
                "pairs": len(members),
                "scores": {m: dataclasses.asdict(summarize(members, m)) for m in metrics},
            }
            for name, members in groups(rows).items()
        ],
        "ranked_by": ranked_by,
        "worst": [row.pair.name for row in worst(rows, ranked_by)],
        "files": [_row_values(row, metrics) for row in rows],
    }
    return {key: _plain(value) for key, value in result.items()}


def _row_values(row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "name": row.pair.name,
        "snr_db": row.pair.snr_db,
        "kind": row.pair.kind,
        "seconds": row.seconds,
        "noisy": row.noisy,
        "enhanced": row.enhanced,
        "gain": {metric: row.gain(metric) for metric in metrics},
        "reasons": row.reasons,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
