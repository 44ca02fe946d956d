"""Tracks of talkers and of noise: pieces of recordings, changed in speed, joined without clicks."""

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from truenet.levels import active_level_db
from truenet.sources import SAMPLE_RATE_HZ, Recordings

TALKER_LEVEL_DB = -25.0
QUIETEST_DB = -70.0  # a recording below this is silence and is not turned up
SHORTEST_PIECE_SAMPLES = 160
TALKER_SPEEDS = (0.85, 1.15)
NOISE_SPEEDS = (1.0, 1.3)  # slower would leave the top band empty, where it gives the noise away


def talk(
    generator: np.random.Generator, speech: Recordings, samples: int, speed_probability: float
) -> NDArray[np.float32]:
    """Utterances of one or several talkers, one after another, with pauses of up to 0.6 s between.

    Some are cut short, so that talkers change within a crop. Active level around TALKER_LEVEL_DB.
    """
    track = np.zeros(samples, np.float32)
    position = 0
    while samples - position >= SHORTEST_PIECE_SAMPLES:
        most = samples - position
        if generator.random() < 0.3:
            most = min(most, int(generator.uniform(0.7, 2.0) * SAMPLE_RATE_HZ))
        speed = _speed(generator, speed_probability, TALKER_SPEEDS)
        piece = speech.excerpt(speech.draw(generator), generator, int(most * speed) + 2)
        piece = _without_pauses_around(_change_speed(piece, speed)[:most])
        level_db = max(active_level_db(torch.from_numpy(piece)).item(), QUIETEST_DB)
        piece *= np.float32(10 ** ((TALKER_LEVEL_DB + generator.uniform(-3, 3) - level_db) / 20))
        _fade_ends(piece)
        track[position : position + len(piece)] = piece
        position += len(piece) + int(generator.uniform(0.05, 0.6) * SAMPLE_RATE_HZ)
    return track


def recorded_noise(
    generator: np.random.Generator, noise: Recordings, samples: int, speed_probability: float
) -> NDArray[np.float32]:
    """A piece of one noise recording, sometimes with slow changes of its level."""
    speed = _speed(generator, speed_probability, NOISE_SPEEDS)
    track = _change_speed(repeated(generator, noise, int(samples * speed) + 2), speed)[:samples]
    if generator.random() < 0.2:
        depth_db = generator.uniform(3, 10)
        curve_db = depth_db * slow_curve(generator, samples, generator.uniform(0.5, 5))
        track = track * np.float32(10) ** (curve_db / np.float32(20))
    return track


def repeated(
    generator: np.random.Generator, recordings: Recordings, samples: int
) -> NDArray[np.float32]:
    """A piece of one recording; where it is too short several, joined by crossfades of 20 ms."""
    index = recordings.draw(generator)
    track = recordings.excerpt(index, generator, samples)
    while len(track) < samples:
        piece = recordings.excerpt(index, generator, samples)
        fade = min(320, len(piece) // 2)
        rising = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
        piece[:fade] = piece[:fade] * rising + track[len(track) - fade :] * rising[::-1]
        track = np.concatenate([track[: len(track) - fade], piece])
    return track[:samples]


def slow_curve(
    generator: np.random.Generator, samples: int, points_per_second: float
) -> NDArray[np.float32]:
    """A random curve within -1..1 with so many support points a second."""
    points = int(samples / SAMPLE_RATE_HZ * points_per_second) + 2
    curve = generator.uniform(-1, 1, points)
    place = np.linspace(0, points - 1, samples)
    return np.interp(place, np.arange(points), curve).astype(np.float32)


def _speed(
    generator: np.random.Generator, probability: float, speeds: tuple[float, float]
) -> float:
    return float(generator.uniform(*speeds)) if generator.random() < probability else 1.0


def _change_speed(piece: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Play so many times as fast: pitch and formants move too, which makes a new voice."""
    if speed == 1.0:
        return piece
    return np.asarray(soxr.resample(piece, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ))


def _without_pauses_around(piece: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep 0.1 s before the first and after the last sample within 30 dB of the peak."""
    magnitude = np.abs(piece)
    loud = np.flatnonzero(magnitude >= magnitude.max() * 10 ** (-30 / 20))
    margin = SAMPLE_RATE_HZ // 10
    return piece[max(int(loud[0]) - margin, 0) : int(loud[-1]) + margin]


def _fade_ends(piece: NDArray[np.float32]) -> None:
    """A piece cut out of a word must not begin or end in a click: fade 8 ms, in place."""
    fade = min(128, len(piece) // 2)
    rising = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    piece[:fade] *= rising
    piece[len(piece) - fade :] *= rising[::-1]
