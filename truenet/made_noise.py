"""Noise that is made rather than recorded: the kinds that recordings are short of."""

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from truenet.sources import SAMPLE_RATE_HZ, Float32

Generator = np.random.Generator


def colored(generator: Generator, samples: int) -> Float32:
    """Steady noise whose spectrum falls (or rises) by −12 to +3 dB an octave."""
    return _shaped(generator, samples, generator.uniform(-12.0, 3.0))


def modulated(generator: Generator, samples: int) -> Float32:
    """Coloured noise that swells and fades by up to 20 dB, as passing cars and surf do."""
    noise = _shaped(generator, samples, generator.uniform(-9.0, 0.0))
    return noise * _slow_gain(
        generator, samples, depth_db=20.0, points_per_s=generator.uniform(0.5, 6.0)
    )


def hum(generator: Generator, samples: int) -> Float32:
    """Mains or motor hum with harmonics over a little coloured noise."""
    time = np.arange(samples, dtype=np.float32) / SAMPLE_RATE_HZ
    fundamental_hz = generator.choice([50.0, 60.0, 100.0, 120.0, generator.uniform(60.0, 400.0)])
    total = 0.1 * _shaped(generator, samples, -6.0)
    for harmonic in range(1, int(generator.integers(4, 16))):
        if fundamental_hz * harmonic > 7500:
            break
        gain = generator.uniform(0.2, 1.0) / harmonic ** generator.uniform(0.3, 1.2)
        phase = 2 * np.pi * (fundamental_hz * harmonic * time + generator.uniform())
        total += np.float32(gain) * np.sin(phase, dtype=np.float32)
    return total


def clicks(generator: Generator, samples: int) -> Float32:
    """Keys, crackle, dropped things: sparse decaying bursts over very faint noise."""
    count = int(generator.integers(1, 12) * samples / SAMPLE_RATE_HZ) + 1
    impulses = np.zeros(samples, np.float32)
    impulses[generator.integers(0, samples, count)] = generator.uniform(0.2, 1.0, count)
    decay_s = generator.uniform(0.002, 0.05)
    envelope = lfilter([1], [1, -np.exp(-1 / (decay_s * SAMPLE_RATE_HZ))], impulses)
    burst = _shaped(generator, samples, generator.uniform(-6.0, 3.0))
    total: Float32 = (burst * (envelope + 1e-3)).astype(np.float32)
    return total


def wind(generator: Generator, samples: int) -> Float32:
    """Low rumble in gusts, as on an unprotected microphone."""
    rumble = _shaped(generator, samples, generator.uniform(-24.0, -14.0))
    return rumble * _slow_gain(
        generator, samples, depth_db=25.0, points_per_s=generator.uniform(1.0, 8.0)
    )


KINDS: tuple[Callable[[Generator, int], Float32], ...] = (colored, modulated, hum, clicks, wind)


def _shaped(generator: Generator, samples: int, slope_db_per_octave: float) -> Float32:
    """Noise of unit RMS with a straight spectrum above 60 Hz in logarithmic frequency."""
    length = 1 << (samples - 1).bit_length()
    white = generator.standard_normal(length + 2, dtype=np.float32).view(np.complex64)
    frequency = np.linspace(0, SAMPLE_RATE_HZ / 2, len(white), dtype=np.float32)
    slope = np.maximum(frequency, 60.0) ** np.float32(slope_db_per_octave / 20 / np.log10(2))
    noise = np.fft.irfft(white * slope)[:samples].astype(np.float32)
    return noise / np.float32(np.sqrt(np.mean(noise**2)) + 1e-12)


def _slow_gain(generator: Generator, samples: int, depth_db: float, points_per_s: float) -> Float32:
    points = generator.uniform(-depth_db, 0.0, int(points_per_s * samples / SAMPLE_RATE_HZ) + 2)
    places = np.linspace(0, len(points) - 1, samples, dtype=np.float32)
    gain: Float32 = (10 ** (np.interp(places, np.arange(len(points)), points) / 20)).astype(
        np.float32
    )
    return gain
