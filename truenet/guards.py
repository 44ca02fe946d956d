"""What users of noise suppressors complain of, as numbers: noise that pumps, music that is gone, streams that decay.

Each takes an `Enhance` (see `truenet.evaluation`), so that any suppressor can be asked. The rest is
measured on pairs: `truenet.kept`, and `truenet evaluate CLEAN CLEAN` for clean speech that goes in.
All audio is at 16 kHz.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from truenet import kept
from truenet.metrics import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]
Enhance = Callable[[Samples, int], Samples]

PAUSE_SECONDS = 3.0
_FRAME_SAMPLES = 800  # 50 ms
_AFTER_SECONDS, _LONG_SECONDS = (0.2, 0.5), (2.0, 2.9)
_INAUDIBLE_DB = -40.0  # noise that is turned down further is not heard to move
_TRIMMED_SAMPLES = 160


@dataclasses.dataclass(frozen=True)
class Pumping:
    """The gain that steady noise gets in the pauses between utterances, in dB.

    after: 0.2 to 0.5 s after talk; long: 2 to 2.9 s after it; swing: standard deviation over both
    and between; all no lower than −40 dB.
    """

    after_db: float
    long_db: float
    swing_db: float


def pumping(
    enhance: Enhance, utterances: Sequence[Samples], noise: Samples, snr_db: float
) -> Pumping:
    """Utterances with pauses of 3 s in noise; what the pauses sound like.

    Args:
        utterances: clean speech; what is before and after the talk of each is cut off.
        noise: steady, repeated as long as needed.
        snr_db: of all talk together.

    Raises:
        ValueError: no utterances.
    """
    if not utterances:
        raise ValueError("pumping needs at least one utterance")
    talks = [_trimmed(utterance) for utterance in utterances]
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE_HZ), np.float32)
    speech = np.concatenate([part for talk in talks for part in (talk, pause)])
    power = np.mean(np.square(np.concatenate(talks)))
    steady = np.resize(noise, speech.size)
    steady = steady * np.sqrt(power / np.mean(np.square(steady)) * 10 ** (-snr_db / 10))
    output = enhance((speech + steady).astype(np.float32), SAMPLE_RATE_HZ)
    ends = np.cumsum([len(talk) + len(pause) for talk in talks]) - len(pause)
    gains = np.array([_gains_db(output[end:], steady[end:]) for end in ends])
    after, long = (gains[:, _frames(*span)] for span in (_AFTER_SECONDS, _LONG_SECONDS))
    all_of_it = gains[:, _frames(_AFTER_SECONDS[0], _LONG_SECONDS[1])]
    return Pumping(float(after.mean()), float(long.mean()), float(all_of_it.std(axis=1).mean()))


def level_change_db(enhance: Enhance, samples: Samples) -> float:
    """How much louder (negative: quieter) a signal becomes."""
    output = enhance(samples, SAMPLE_RATE_HZ)
    floor = 1e-12
    power = [np.mean(np.square(signal, dtype=np.float64)) + floor for signal in (samples, output)]
    return float(10 * np.log10(power[1] / power[0]))


def chords(seconds: float = 8.0) -> Samples:
    """Held chords of four harmonic notes, a new one each second, each dying away slowly."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    begun_s = np.floor(time_s)
    roots_hz = 110 * 2 ** (np.array([0, 5, 7, 3, 8, 10, 5, 7]) / 12)
    root_hz = roots_hz[begun_s.astype(int) % len(roots_hz)]
    notes = [ratio * root_hz for ratio in (1, 1.25, 1.5, 2)]
    waves = [
        np.sin(2 * np.pi * harmonic * note * (time_s - begun_s)) / harmonic
        for note in notes
        for harmonic in range(1, 8)
    ]
    fade = np.minimum(50 * (time_s - begun_s), 1) * np.exp(begun_s - time_s)
    return (0.02 * fade * np.sum(waves, axis=0)).astype(np.float32)


def first_and_last_round(
    process: Callable[[Samples], Samples],
    flush: Callable[[], Samples],
    samples: Samples,
    rounds: int,
    latency_samples: int,
) -> tuple[Samples, Samples]:
    """Stream the same audio again and again; what comes of it the first and the last time, aligned.

    Args:
        process: takes a block and returns as many samples, `latency_samples` late.
        flush: returns the last `latency_samples`.
        rounds: two or more.
    """
    if rounds < 2:
        raise ValueError(f"rounds is {rounds}: the first and the last make at least 2")
    blocks = [samples[at : at + SAMPLE_RATE_HZ] for at in range(0, len(samples), SAMPLE_RATE_HZ)]
    late = len(samples) + latency_samples
    begin: list[Samples] = []
    for number in range(rounds):
        output = np.concatenate([process(block) for block in blocks])
        if number < 2:
            begin.append(output)
    end = np.concatenate([output, flush()])
    return np.concatenate(begin)[latency_samples:late], end[latency_samples:]


def _trimmed(utterance: Samples) -> Samples:
    """From the first to the last frame of talk."""
    talk = np.flatnonzero(kept.talk_frames(utterance.astype(np.float64)))
    return utterance[talk[0] * _TRIMMED_SAMPLES : (talk[-1] + 2) * _TRIMMED_SAMPLES]


def _gains_db(output: Samples, noise: Samples) -> NDArray[np.float64]:
    """Of each 50 ms of a pause."""
    length = round(PAUSE_SECONDS * SAMPLE_RATE_HZ) // _FRAME_SAMPLES * _FRAME_SAMPLES
    power = [
        np.square(signal[:length].reshape(-1, _FRAME_SAMPLES), dtype=np.float64).mean(axis=1)
        for signal in (output, noise)
    ]
    gains = power[0] / np.maximum(power[1], 1e-30)
    return 10 * np.log10(np.maximum(gains, 10 ** (_INAUDIBLE_DB / 10)))


def _frames(begin_seconds: float, end_seconds: float) -> slice:
    per_second = SAMPLE_RATE_HZ / _FRAME_SAMPLES
    return slice(round(begin_seconds * per_second), round(end_seconds * per_second))
