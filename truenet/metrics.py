"""How good an estimate of a voice is, given the clean voice: PESQ, STOI, SI-SDR, ratings, level.

Every metric takes the clean and the estimated voice, one-dimensional arrays of equal length at
16 kHz, and returns a float. What cannot be scored (a silent or too short file, NaN samples) gives
`NotScored`: a NaN that carries its reason, so that one bad file costs one row and not the run.
Arrays of other shapes raise ValueError.

PESQ and STOI are those of the packages `pesq` and `pystoi`, which the extra `train` installs;
without them these metrics raise ImportError.
"""

import functools
import importlib
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from truenet import composite, kept
from truenet.composite import Ratings
from truenet.extras import how_to_install

SAMPLE_RATE_HZ = 16_000
# P.862.3 recommends 8 to 30 s, and the package `pesq` overruns its memory at more than 50
# utterances: they last 0.2 s or more with gaps of 0.2 s or more, so 20 s can hold no more.
_LONGEST_PESQ_SAMPLES = 20 * SAMPLE_RATE_HZ

Samples = npt.NDArray[np.floating[Any]]
Metric = Callable[[Samples, Samples], float]

_EQUAL = 1e-24  # what float64 leaves of equal signals; float32 files differ by more, or not at all
_SILENCE_RMS = 1e-6  # −120 dBFS, below the last bit of a 16-bit file


class NotScored(float):
    """A NaN with the reason why there is no score."""

    reason: str

    def __new__(cls, reason: str) -> "NotScored":
        score = super().__new__(cls, "nan")
        score.reason = reason
        return score

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # pickled between processes
        return (self.reason,)


class _UnscorableError(Exception):
    """Raised inside this module; leaves it as `NotScored`."""


def metric(function: Metric) -> Metric:
    """Hand `function` float64 signals that can be scored; `NotScored` where it or we cannot."""

    @functools.wraps(function)
    def scored(clean: Samples, estimate: Samples) -> float:
        try:
            return float(function(*_scorable(clean, estimate)))
        except _UnscorableError as error:
            return NotScored(str(error))

    return scored


def _scorable(clean: Samples, estimate: Samples) -> tuple[Samples, Samples]:
    if clean.ndim != 1 or clean.shape != estimate.shape:
        raise ValueError(
            f"clean {clean.shape} and estimate {estimate.shape}: "
            "expected two arrays of one dimension and equal length"
        )
    if clean.size == 0:
        raise _UnscorableError("the files are empty")
    for name, samples in (("clean file", clean), ("estimate", estimate)):
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        if bad:
            raise _UnscorableError(f"the {name} has {bad} samples that are NaN or infinite")
        if np.std(samples, dtype=np.float64) < _SILENCE_RMS:
            raise _UnscorableError(f"the {name} is silent")
    return np.ascontiguousarray(clean, np.float64), np.ascontiguousarray(estimate, np.float64)


@metric
def pesq_wb(clean: Samples, estimate: Samples) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO from 1.04 to 4.64."""
    return _pesq(clean, estimate, "wb")


@metric
def pesq_nb(clean: Samples, estimate: Samples) -> float:
    """Narrow-band PESQ (ITU-T P.862 with the mapping of P.862.1), MOS-LQO from 1.02 to 4.55."""
    return _pesq(clean, estimate, "nb")


def _pesq(clean: Samples, estimate: Samples, mode: str) -> float:
    """Mean of the score over equal pieces of at most 20 s, of those that can be scored."""
    pieces = -(-clean.size // _LONGEST_PESQ_SAMPLES)
    scores, reasons = [], []
    for pair in zip(np.array_split(clean, pieces), np.array_split(estimate, pieces), strict=True):
        try:
            scores.append(_pesq_piece(*pair, mode))
        except _UnscorableError as error:
            reasons.append(error)
    if not scores:
        raise reasons[0]
    return float(np.mean(scores))


def _pesq_piece(clean: Samples, estimate: Samples, mode: str) -> float:
    package = scoring_package("pesq")
    try:
        return float(package.pesq(SAMPLE_RATE_HZ, clean, estimate, mode))
    except package.PesqError as error:
        reason = error.args[0] if error.args else error
        raise _UnscorableError(
            f"PESQ: {reason.decode() if isinstance(reason, bytes) else reason}"
        ) from error


@metric
def stoi(clean: Samples, estimate: Samples) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), at most 1."""
    return _stoi(clean, estimate, extended=False)


@metric
def estoi(clean: Samples, estimate: Samples) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016), at most 1."""
    return _stoi(clean, estimate, extended=True)


def _stoi(clean: Samples, estimate: Samples, extended: bool) -> float:
    package = scoring_package("pystoi")
    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5 where fewer than 30 frames (0.4 s) hold speech.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(clean, estimate, SAMPLE_RATE_HZ, extended=extended))
        except (RuntimeWarning, ValueError) as error:
            raise _UnscorableError("STOI needs at least 0.4 s of speech") from error


@metric
def si_sdr_db(clean: Samples, estimate: Samples) -> float:
    """Scale-invariant signal to distortion ratio in dB ("SDR: half-baked or well done?", 2019).

    The mean of both signals is removed first. Infinite where the estimate is the clean voice times
    a factor.
    """
    clean, estimate = clean - clean.mean(), estimate - estimate.mean()
    target = clean * (estimate @ clean) / (clean @ clean)
    distortion = estimate - target
    if distortion @ distortion < _EQUAL * (target @ target):
        return math.inf
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((target @ target) / (distortion @ distortion)))


@metric
def level_difference_db(clean: Samples, estimate: Samples) -> float:
    """Level (RMS) of the estimate above that of the clean voice, in dB."""
    return float(10 * np.log10((estimate @ estimate) / (clean @ clean)))


@metric
def segmental_snr_db(clean: Samples, estimate: Samples) -> float:
    """Mean over frames of 30 ms of the signal to noise ratio, each limited to −10..35 dB."""
    if clean.size < 2 * composite.FRAME_SAMPLES:
        raise _UnscorableError("the segmental SNR needs at least 60 ms")
    return composite.segmental_snr(clean, estimate)


def _kept(measure: Metric) -> Metric:
    """A metric of `truenet.kept`."""

    @metric
    @functools.wraps(measure)
    def scored(clean: Samples, estimate: Samples) -> float:
        if clean.size < kept.SHORTEST_SAMPLES:
            raise _UnscorableError("what is kept of the voice needs at least 0.2 s")
        score = measure(clean, estimate)
        if math.isnan(score):
            raise _UnscorableError(f"the clean file has nothing to measure {measure.__name__} by")
        return score

    return scored


def ratings(clean: Samples, estimate: Samples, pesq: float | None = None) -> Ratings:
    """Predicted opinions of speech (CSIG), background (CBAK) and the whole (COVL), each 1 to 5.

    Hu and Loizou 2008 with wide-band PESQ; see `truenet.composite`. A pair that has no PESQ has no
    ratings, for the same reason.

    Args:
        pesq: what `pesq_wb` says of the pair, where the caller has it already.
    """
    pesq = pesq_wb(clean, estimate) if pesq is None else pesq
    if isinstance(pesq, NotScored):
        return Ratings(pesq, pesq, pesq)
    pair = clean.astype(np.float64), estimate.astype(np.float64)
    return composite.ratings(
        pesq,
        composite.log_likelihood_ratio(*pair),
        composite.weighted_spectral_slope(*pair),
        composite.segmental_snr(*pair),
    )


def measure(clean: Samples, estimate: Samples, names: Iterable[str]) -> dict[str, float]:
    """The scores of one pair under the given names, some of `METRICS`, in that order.

    Raises:
        ValueError: a name that is not in `METRICS`, or arrays that do not fit.
        ImportError: a package of the extra `train` is missing.
    """
    names = list(names)
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METRICS)}")
    scores = {name: _SINGLE[name](clean, estimate) for name in names if name in _SINGLE}
    if set(names) & set(Ratings._fields):
        scores |= ratings(clean, estimate, scores.get("pesq_wb"))._asdict()
    return {name: scores[name] for name in names}


def scoring_package(name: str, extra: str = "train") -> Any:
    """The package `name`, which only an extra installs.

    Raises:
        ImportError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ImportError(f"{package} is not installed; {how_to_install(extra)}") from error


_SINGLE: dict[str, Metric] = {
    "pesq_wb": pesq_wb,
    "pesq_nb": pesq_nb,
    "stoi": stoi,
    "estoi": estoi,
    "si_sdr_db": si_sdr_db,
    "segmental_snr_db": segmental_snr_db,
    "level_difference_db": level_difference_db,
    **{
        function.__name__: _kept(function)
        for function in (
            kept.onset_kept_db,
            kept.eaten_onsets,
            kept.consonant_kept_db,
            kept.upper_band_kept_db,
            kept.left_over_db,
        )
    },
}
METRICS = (*_SINGLE, *Ratings._fields)
