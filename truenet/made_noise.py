"""Noise that is made, for what recordings hold too little of: coloured, hum, clicks, wind, babble.

Every maker returns float32 of shape (samples,) at 16 kHz; levels mean nothing, the mixer sets them.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from truenet.sources import SAMPLE_RATE_HZ, Recordings
from truenet.tracks import repeated, slow_curve

Maker = Callable[[np.random.Generator, Recordings, int], NDArray[np.float32]]


def make_noise(
    generator: np.random.Generator, speech: Recordings, samples: int
) -> NDArray[np.float32]:
    """A noise of a random kind."""
    makers: tuple[Maker, ...] = (coloured, coloured, hum, clicks, wind, babble, babble)
    return makers[generator.integers(len(makers))](generator, speech, samples)


def coloured(
    generator: np.random.Generator, speech: Recordings, samples: int
) -> NDArray[np.float32]:
    """White, pink, brown or any tilt between, steady or slowly modulated."""
    db_per_octave = generator.choice([0.0, -3.0, -6.0, generator.uniform(-9, 3)])
    noise = _tilted(generator, samples, db_per_octave, corner_hz=40.0)
    if generator.random() < 0.5:
        depth_db = generator.uniform(3, 15)
        noise *= _gain(depth_db * slow_curve(generator, samples, generator.uniform(0.5, 8)))
    return noise


def hum(generator: np.random.Generator, speech: Recordings, samples: int) -> NDArray[np.float32]:
    """Mains hum with harmonics whose pitch drifts a little, over faint noise."""
    table_samples = 4096
    harmonics = generator.integers(3, 40)
    spectrum = np.zeros(table_samples // 2 + 1, np.complex64)
    falling = np.arange(1, harmonics + 1) ** -generator.uniform(0.3, 1.5)
    amplitudes = falling * generator.uniform(0, 1, harmonics)
    spectrum[1 : harmonics + 1] = amplitudes * np.exp(2j * np.pi * generator.random(harmonics))
    table = scipy.fft.irfft(spectrum, table_samples)
    hz = generator.choice([50.0, 60.0, 100.0, generator.uniform(40, 250)])
    drift = 1 + 0.003 * slow_curve(generator, samples, 2)
    phase = np.cumsum(hz / SAMPLE_RATE_HZ * drift, dtype=np.float64) * table_samples
    tone = table[phase.astype(np.int64) % table_samples]
    floor = _tilted(generator, samples, -3.0, corner_hz=40.0)
    return _unit(tone) + _gain(generator.uniform(-40, -15)) * _unit(floor)


def clicks(generator: np.random.Generator, speech: Recordings, samples: int) -> NDArray[np.float32]:
    """Short decaying knocks at random times, like keys, cutlery or crackle."""
    track = np.zeros(samples, np.float32)
    length = int(generator.uniform(0.01, 0.08) * SAMPLE_RATE_HZ)
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    for _ in range(generator.poisson(generator.uniform(2, 12) * samples / SAMPLE_RATE_HZ) + 1):
        start = generator.integers(0, max(samples - length, 1))
        decay = np.exp(-time * generator.uniform(50, 800))
        knock = generator.standard_normal(length, dtype=np.float32)
        knock += 2 * np.sin(2 * np.pi * generator.uniform(300, 5000) * time)
        place = track[start : start + length]
        place += (knock * decay * _gain(generator.uniform(-15, 0)))[: len(place)]
    return track


def wind(generator: np.random.Generator, speech: Recordings, samples: int) -> NDArray[np.float32]:
    """Rumble that comes in gusts."""
    noise = _tilted(generator, samples, generator.uniform(-12, -7), generator.uniform(40, 200))
    return noise * _gain(
        generator.uniform(6, 15) * slow_curve(generator, samples, generator.uniform(1, 6))
    )


def babble(generator: np.random.Generator, speech: Recordings, samples: int) -> NDArray[np.float32]:
    """4 to 8 talkers at once."""
    track = np.zeros(samples, np.float32)
    for _ in range(generator.integers(4, 9)):
        track += _gain(generator.uniform(-6, 0)) * _unit(repeated(generator, speech, samples))
    return track


def _tilted(
    generator: np.random.Generator, samples: int, db_per_octave: float, corner_hz: float
) -> NDArray[np.float32]:
    """Gaussian noise whose spectrum is flat below a corner and tilted above it."""
    length = scipy.fft.next_fast_len(samples, real=True)
    bins = length // 2 + 1
    spectrum = generator.standard_normal((bins, 2), dtype=np.float32).view(np.complex64)[:, 0]
    octaves = np.log2(
        np.maximum(np.arange(bins, dtype=np.float32) * (SAMPLE_RATE_HZ / length / corner_hz), 1)
    )
    noise = scipy.fft.irfft(spectrum * _gain(db_per_octave * octaves), length)[:samples]
    return np.asarray(noise, np.float32)


def _gain(level_db: float | NDArray[np.float32]) -> np.float32 | NDArray[np.float32]:
    return np.power(np.float32(10), np.float32(0.05) * level_db, dtype=np.float32)


def _unit(track: NDArray[np.float32]) -> NDArray[np.float32]:
    return track / np.float32(np.sqrt(np.mean(track**2)) + 1e-9)
