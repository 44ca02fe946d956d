"""How good an estimate of a voice is, given the clean voice: PESQ, STOI, SI-SDR and level.

Every metric takes the clean and the estimated voice, one-dimensional arrays of equal length at
16 kHz, and returns a float. What cannot be scored (a silent or too short file, NaN samples) gives
`NotScored`: a NaN that carries its reason, so that one bad file costs one row and not the run.
Arrays of other shapes raise ValueError.

PESQ and STOI are those of the packages `pesq` and `pystoi`, which the extra `train` installs;
without them these metrics raise ImportError.
"""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000

Samples = npt.NDArray[np.floating[Any]]
Metric = Callable[[Samples, Samples], float]

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
    package = _scoring_package("pesq")
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
    package = _scoring_package("pystoi")
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

    The mean of both signals is removed first. Above 300 where the estimate is the clean voice times
    a factor: infinite but for rounding.
    """
    clean, estimate = clean - clean.mean(), estimate - estimate.mean()
    target = clean * (estimate @ clean) / (clean @ clean)
    distortion = estimate - target
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.divide(target @ target, distortion @ distortion)))


@metric
def level_difference_db(clean: Samples, estimate: Samples) -> float:
    """Level (RMS) of the estimate above that of the clean voice, in dB."""
    return float(10 * np.log10((estimate @ estimate) / (clean @ clean)))


def _scoring_package(name: str) -> Any:
    """The package `name`, which only the extra `train` installs.

    Raises:
        ImportError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name} is not installed; run: pip install 'truenet[train]'", name=name
        ) from error
