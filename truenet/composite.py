"""Ratings of speech, background and the whole as people would give them, predicted from signals.

Hu and Loizou, "Evaluation of Objective Quality Measures for Speech Enhancement" (IEEE TASLP 16(1),
2008): three regressions on PESQ, the log-likelihood ratio (LLR), the weighted spectral slope (WSS,
Klatt 1982) and the segmental SNR. Settings follow the authors' program, in which published tables
are made: frames of 30 ms, a quarter apart, Hann window, the mean of the lower 95 % of LLR and WSS;
and wide-band PESQ, as everyone has used since SEGAN (2017).

All signals here are one-dimensional float64 arrays at 16 kHz, nominal ±1, of 480 samples or more.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

FRAME_SAMPLES = 480
_HOP_SAMPLES = 120
_PREDICTION_ORDER = 16
_KEPT_FRAMES = 0.95
# Critical bands from 50 to 3598 Hz, each beginning at the centre of the one before (Klatt 1982).
_BANDWIDTHS_HZ = np.array(
    [70.0] * 7
    + [77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154]
    + [183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136]
)
_FFT_SAMPLES = 1024
_BIN_HZ = 16_000 / _FFT_SAMPLES


class Ratings(NamedTuple):
    """Predicted mean opinions from 1 to 5."""

    csig: float
    cbak: float
    covl: float


def ratings(pesq: float, llr: float, wss: float, segmental_snr_db: float) -> Ratings:
    """The three regressions (Hu and Loizou 2008, with the coefficients of their program)."""
    signal = 3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss
    background = 1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * segmental_snr_db
    overall = 1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss
    return Ratings(*(min(max(rating, 1.0), 5.0) for rating in (signal, background, overall)))


def segmental_snr(clean: Array, estimate: Array) -> float:
    """Mean over frames of the SNR in dB, each limited to −10..35."""
    signal = np.sum(_frames(clean) ** 2, axis=-1)
    noise = np.sum(_frames(clean - estimate) ** 2, axis=-1)
    tiny = np.finfo(np.float64).eps
    return float(np.mean(np.clip(10 * np.log10(signal / (noise + tiny) + tiny), -10, 35)))


def log_likelihood_ratio(clean: Array, estimate: Array) -> float:
    """How much worse the estimate's linear predictor predicts the clean voice than its own does."""
    lags = _autocorrelation(clean)
    index = np.arange(_PREDICTION_ORDER + 1)
    toeplitz = lags[:, np.abs(index[:, None] - index)]  # (frames, order + 1, order + 1)
    errors = [
        np.einsum("fi,fij,fj->f", predictor, toeplitz, predictor)
        for predictor in (_predictor(_autocorrelation(estimate)), _predictor(lags))
    ]
    return _lower_mean(np.log(errors[0] / errors[1]))


def weighted_spectral_slope(clean: Array, estimate: Array) -> float:
    """Squared difference of the slopes between critical bands in dB², peaks weighing most."""
    filters = _critical_band_filters()
    bands = [_band_levels_db(signal, filters) for signal in (clean, estimate)]
    weights = (_slope_weights(bands[0]) + _slope_weights(bands[1])) / 2
    squares = (np.diff(bands[0]) - np.diff(bands[1])) ** 2
    return _lower_mean(np.sum(weights * squares, axis=-1) / np.sum(weights, axis=-1))


def _frames(signal: Array) -> Array:
    """Windowed frames, (frames, FRAME_SAMPLES), less the last: so does the authors' program."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME_SAMPLES)[::_HOP_SAMPLES]
    return frames[:-1] * np.hanning(FRAME_SAMPLES + 2)[1:-1]


def _lower_mean(values: Array) -> float:
    return float(np.mean(np.sort(values)[: max(round(values.size * _KEPT_FRAMES), 1)]))


def _autocorrelation(signal: Array) -> Array:
    """Lags 0 to the prediction order of every frame, (frames, order + 1)."""
    # One rounding unit of offset, as in the authors' program, keeps frames of zeros defined.
    frames = _frames(signal + np.finfo(np.float64).eps)
    lags = [
        np.sum(frames[:, : FRAME_SAMPLES - lag] * frames[:, lag:], axis=-1)
        for lag in range(_PREDICTION_ORDER + 1)
    ]
    lags[0] *= 1 + 1e-14  # predictable to rounding: the error stays positive
    return np.stack(lags, axis=-1)


def _predictor(lags: Array) -> Array:
    """Prediction-error filters by the Levinson-Durbin recursion, (frames, order + 1)."""
    filters = np.zeros_like(lags)
    filters[:, 0] = 1
    error = lags[:, 0]
    for order in range(1, lags.shape[1]):
        reflection = -np.sum(filters[:, :order] * lags[:, order:0:-1], axis=-1) / error
        filters[:, : order + 1] += reflection[:, None] * filters[:, order::-1]
        error = error * (1 - reflection**2)
    return filters


def _critical_band_filters() -> Array:
    """Gaussian weights of the FFT bins in each critical band, (bands, bins)."""
    centres = np.floor((50 + np.cumsum(_BANDWIDTHS_HZ) - _BANDWIDTHS_HZ) / _BIN_HZ)
    widths = _BANDWIDTHS_HZ / _BIN_HZ
    distance = (np.arange(_FFT_SAMPLES // 2) - centres[:, None]) / widths[:, None]
    filters = np.exp(-11 * distance**2) * (_BANDWIDTHS_HZ[0] / _BANDWIDTHS_HZ[:, None])
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0)


def _band_levels_db(signal: Array, filters: Array) -> Array:
    """Level in each critical band of every frame, (frames, bands)."""
    power = np.abs(np.fft.rfft(_frames(signal), _FFT_SAMPLES)[:, :-1]) ** 2
    return np.asarray(10 * np.log10(np.maximum(power @ filters.T, 1e-10)))


def _slope_weights(levels_db: Array) -> Array:
    """Klatt's weights (K_max 20 dB, K_locmax 1 dB) of the slopes, (frames, bands − 1)."""
    lower = levels_db[:, :-1]
    below_highest = levels_db.max(axis=-1, keepdims=True) - lower
    below_peak = _nearest_peaks(levels_db) - lower
    return np.asarray(20 / (20 + below_highest) / (1 + below_peak))


def _nearest_peaks(levels_db: Array) -> Array:
    """Level of the peak that each slope climbs to, upwards or downwards in frequency.

    On the way up the authors' program stops one band short of the peak; so do published figures.
    """
    rising = np.diff(levels_db) > 0
    slopes = rising.shape[1]
    upwards, downwards = levels_db[:, :-1].copy(), levels_db[:, :-1].copy()
    for slope in range(slopes - 2, -1, -1):
        upwards[:, slope] = np.where(
            rising[:, slope + 1], upwards[:, slope + 1], levels_db[:, slope]
        )
    for slope in range(1, slopes):
        downwards[:, slope] = np.where(
            rising[:, slope - 1], levels_db[:, slope], downwards[:, slope - 1]
        )
    return np.where(rising, upwards, downwards)
