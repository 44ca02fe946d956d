"""How much of the clean voice an estimate keeps: where talk begins, in consonants, in the upper band; and what is left
beside it.

What an estimate has beyond the voice cannot make up for what it lacks: in every bin of a spectrogram
(frames of 20 ms, half overlapping) no more than the clean voice's own power counts. 0 dB is all of
it. A noisy recording keeps about −1 dB, since noise also cancels voice. Every function is NaN where
there is nothing to measure.

All signals here are one-dimensional float64 arrays at 16 kHz, of `SHORTEST_SAMPLES` or more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

SHORTEST_SAMPLES = 3_200
EATEN_DB = -6.0
_FRAME_SAMPLES, _HOP_SAMPLES, _BIN_HZ = 320, 160, 50
_ACTIVE_RANGE_DB = 25.0  # the active level is that of the frames so far below the loudest, at most
_TALK_RANGE_DB = 20.0  # "clean" recordings have noise of their own, 27 dB below the active level
_SPURT_RANGE_DB = 15.0  # a burst of that noise, alone, is within 20 dB now and then, and no onset
_PAUSE_FRAMES = 10  # 0.1 s; shorter gaps are closures within a word
_LEAD_FRAMES, _ONSET_FRAMES = 3, 15
_CONSONANT_HZ = 2_500  # more than half of the power of s, sh, f and t lies above
_UPPER_HZ = 4_000
_LOWEST_DB = -30.0


def onset_kept_db(clean: Array, estimate: Array) -> float:
    """Mean over the talk spurts of what is kept of their first 0.15 s.

    A spurt begins after 0.1 s or more of pause.
    """
    return _mean(_onsets_db(clean, estimate))


def eaten_onsets(clean: Array, estimate: Array) -> float:
    """Share of the talk spurts, 0 to 1, of whose first 0.15 s less than `EATEN_DB` is kept."""
    return _mean(_onsets_db(clean, estimate) < EATEN_DB)


def consonant_kept_db(clean: Array, estimate: Array) -> float:
    """Mean over the consonants: the frames of talk with most of their power above 2.5 kHz."""
    power, kept = _powers(clean, estimate)
    high = power[:, _CONSONANT_HZ // _BIN_HZ :].sum(axis=1)
    consonants = _talk(power) & (high > 0.5 * power.sum(axis=1))
    return _mean(_ratio_db(kept[consonants], power[consonants]))


def upper_band_kept_db(clean: Array, estimate: Array) -> float:
    """What is kept between 4 and 8 kHz, mean over the frames of talk."""
    power, kept = _powers(clean, estimate)
    talk = _talk(power)
    upper = slice(_UPPER_HZ // _BIN_HZ, None)
    return _mean(_ratio_db(kept[talk, upper], power[talk, upper]))


def left_over_db(clean: Array, estimate: Array) -> float:
    """What the estimate's magnitude is beyond the clean voice's, bin by bin, against all of it."""
    power = _power(clean)
    beyond = np.square(np.maximum(np.sqrt(_power(estimate)) - np.sqrt(power), 0))
    return _mean(_ratio_db(beyond.reshape(1, -1), power.reshape(1, -1)))


def talk_frames(clean: Array) -> npt.NDArray[np.bool_]:
    """Which frames of 20 ms, 10 ms apart, hold speech."""
    return _talk(_power(clean))


def _onsets_db(clean: Array, estimate: Array) -> Array:
    """What is kept of each onset."""
    power, kept = _powers(clean, estimate)
    frames = np.flatnonzero(_talk(power, _SPURT_RANGE_DB))
    pauses = np.diff(frames, prepend=-1) - 1
    begins = np.maximum(frames[pauses >= _PAUSE_FRAMES] - _LEAD_FRAMES, 0)
    spans = [slice(begin, begin + _ONSET_FRAMES) for begin in begins]
    return np.concatenate(
        [_ratio_db(kept[span].reshape(1, -1), power[span].reshape(1, -1)) for span in spans]
        or [np.zeros(0)]
    )


def _powers(clean: Array, estimate: Array) -> tuple[Array, Array]:
    """Spectrograms (frames, bins) of the clean voice, and of what is left of it."""
    power = _power(clean)
    return power, np.minimum(power, _power(estimate))


def _power(signal: Array) -> Array:
    frames = np.lib.stride_tricks.sliding_window_view(signal, _FRAME_SAMPLES)[::_HOP_SAMPLES]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(_FRAME_SAMPLES))))


def _talk(power: Array, range_db: float = _TALK_RANGE_DB) -> npt.NDArray[np.bool_]:
    level = power.sum(axis=1)
    active = level[level >= level.max() * 10 ** (-_ACTIVE_RANGE_DB / 10)].mean()
    return level >= active * 10 ** (-range_db / 10)


def _ratio_db(kept: Array, power: Array) -> Array:
    """Along the rows, no less than −30 dB: what is gone is gone."""
    share = kept.sum(axis=1) / np.maximum(power.sum(axis=1), 1e-30)
    return 10 * np.log10(np.maximum(share, 10 ** (_LOWEST_DB / 10)))


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
