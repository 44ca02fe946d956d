"""Training mixtures, made on the fly: voice + room + noise, each known apart.

Batch N is a pure function of (seed, rank, N), so a resumed run needs no state of its data. What is
drawn for a crop is drawn with numpy; what costs time (equalisers, rooms) is one batched FFT.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from truenet.config import MixingConfig
from truenet.levels import active_level_db, gain, gate, scale_to_snr
from truenet.made_noise import make_noise
from truenet.rooms import RESPONSE_SAMPLES, Rooms
from truenet.sources import SAMPLE_RATE_HZ, Recordings
from truenet.tracks import QUIETEST_DB, recorded_noise, talk

Value = TypeVar("Value")

SIMULATED_ROOMS = 48
PEAK = 0.999
EQUALIZER_HZ = (60.0, 120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
TALKER_SWING_DB, TALKER_TILT_DB = 5.0, 1.0
NOISE_SWING_DB, NOISE_TILT_DB = 6.0, 1.5


class Mixture(NamedTuple):
    """Float32 tensors (crops, crop_samples); mixture is voice + room + noise, to the bit."""

    mixture: Tensor
    voice: Tensor
    room: Tensor
    noise: Tensor


@dataclasses.dataclass(frozen=True)
class Draw:
    """What was decided for one crop.

    noises_db: the relative level of each noise.
    room, noise_room: the index of the response, None for dry.
    silence_samples: how long the crop waits for its talker, None if he is talking already.
    clipping_db: how far below the peak, None for not clipped.
    """

    has_speech: bool
    noises_db: tuple[float, ...]
    room: int | None
    noise_room: int | None
    snr_db: float
    level_dbfs: float
    silence_samples: int | None
    lowpass_hz: float | None
    clipping_db: float | None


class Mixer:
    """Draws batches of mixtures.

    Args:
        config: what is drawn how often.
        speech, noise: recordings; without noise all of it is made.
        rooms: room responses, split at config.direct_ms.
        seed: other seeds give other mixtures.
    """

    def __init__(
        self,
        config: MixingConfig,
        speech: Recordings,
        noise: Recordings | None,
        rooms: Rooms,
        seed: int = 0,
    ) -> None:
        self.config, self.speech, self.noise, self.rooms = config, speech, noise, rooms
        self.seed = seed
        # Everything is made this long and the crop is its end: by then filters and rooms have
        # settled, and what the circular convolution wraps around lies before the crop.
        needed = config.crop_samples + RESPONSE_SAMPLES
        self.track_samples = int(scipy.fft.next_fast_len(needed, real=True))
        self._hz = torch.fft.rfftfreq(self.track_samples, 1 / SAMPLE_RATE_HZ)
        self._bands = _equalizer_bands(self._hz)

    @classmethod
    def from_config(cls, config: MixingConfig, seed: int = 0, cache: Path | None = None) -> "Mixer":
        """Read the folders that the config names.

        Args:
            config: see MixingConfig.
            seed: see the class.
            cache: a folder in which decoded audio is kept for the next time.

        Raises:
            ValueError: no speech is named, or a folder is missing or holds no audio.
        """
        if not config.speech:
            raise ValueError("mixing.speech names no folder; give at least one with recordings")
        speech = Recordings.from_folders(config.speech, config.speech_weights, cache)
        noise = None
        if config.noise:
            noise = Recordings.from_folders(config.noise, config.noise_weights, cache)
        if config.rooms:
            rooms = Rooms.from_folders(config.rooms, config.direct_ms)
        else:
            rooms = Rooms.simulate(SIMULATED_ROOMS, config.direct_ms)
        return cls(config, speech, noise, rooms, seed)

    def batch(self, step: int, crops: int, rank: int = 0) -> Mixture:
        """The mixtures of one training step, the same whatever was drawn before.

        Args:
            step, rank: which batch, of which process; 0 or more.
            crops: how many mixtures.
        """
        generator = np.random.default_rng((self.seed, rank, step))
        draws = [self.draw(generator) for _ in range(crops)]
        microphone = self._equalizer(generator, crops, TALKER_SWING_DB, TALKER_TILT_DB)
        microphone *= self._lowpass(draws)
        voice, room = self._speech(generator, draws, microphone)
        return balance(draws, voice, room, self._noise(generator, draws, microphone))

    def draw(self, generator: np.random.Generator) -> Draw:
        """Decide what one crop is made of."""
        config = self.config
        special = (
            config.silence_probability,
            config.noise_only_probability,
            config.clean_only_probability,
        )
        kind = int(np.searchsorted(np.cumsum(special), generator.random(), "right"))
        second_db = _maybe(
            generator, config.second_noise_probability, lambda: generator.uniform(-12, 0)
        )
        noises_db = (0.0,) if second_db is None else (0.0, second_db)

        def any_room() -> int:
            return int(generator.integers(len(self.rooms)))

        def up_to_half_a_second() -> int:
            return int(generator.integers(min(SAMPLE_RATE_HZ, config.crop_samples) // 2 + 1))

        return Draw(
            has_speech=kind >= 2,
            noises_db=noises_db if kind in (1, 3) else (),
            room=_maybe(generator, config.room_probability, any_room),
            noise_room=_maybe(generator, config.noise_room_probability, any_room),
            snr_db=generator.uniform(*config.snr_db),
            level_dbfs=generator.uniform(*config.level_dbfs),
            silence_samples=_maybe(generator, 0.4, up_to_half_a_second),
            lowpass_hz=_maybe(
                generator, config.lowpass_probability, lambda: generator.uniform(3000, 7000)
            ),
            clipping_db=_maybe(
                generator, config.clipping_probability, lambda: generator.uniform(1, 10)
            ),
        )

    def _speech(
        self, generator: np.random.Generator, draws: list[Draw], microphone: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Voice and room of every crop; where there is none, the transforms keep zeros zero."""
        tracks = torch.from_numpy(np.stack([self._talk(generator, draw) for draw in draws]))
        if self.config.gate_db > 0:
            tracks = gate(tracks, self.config.gate_db)
        voice = self._spectra(tracks) * microphone
        room = torch.zeros(len(draws), self.config.crop_samples)
        rows, rooms = _chosen(draw.room for draw in draws)
        if rows:
            late, direct = self.rooms.late[rooms], self.rooms.direct[rooms]
            room[rows] = self._crops(voice[rows] * self._spectra(torch.from_numpy(late)))
            voice[rows] *= self._spectra(torch.from_numpy(direct))
        return self._crops(voice), room

    def _talk(self, generator: np.random.Generator, draw: Draw) -> NDArray[np.float32]:
        """A talker who begins before the crop, after silence in it, or never."""
        if not draw.has_speech:
            return np.zeros(self.track_samples, np.float32)
        start = 0
        if draw.silence_samples is not None:
            start = self.track_samples - self.config.crop_samples + draw.silence_samples
        samples = self.track_samples - start
        speech = talk(generator, self.speech, samples, self.config.speed_probability)
        return np.pad(speech, (start, 0))

    def _noise(
        self, generator: np.random.Generator, draws: list[Draw], microphone: Tensor
    ) -> Tensor:
        """The noise of every crop: one or two tracks, each equalised, or zeros."""
        spectra = torch.zeros(len(draws), len(self._hz), dtype=torch.complex64)
        levels_db = [
            (row, level_db) for row, draw in enumerate(draws) for level_db in draw.noises_db
        ]
        if not levels_db:
            return torch.zeros(len(draws), self.config.crop_samples)
        tracks = np.stack([self._noise_track(generator, level_db) for _, level_db in levels_db])
        colours = self._equalizer(generator, len(tracks), NOISE_SWING_DB, NOISE_TILT_DB)
        rows_of_tracks = torch.tensor([row for row, _ in levels_db])
        spectra.index_add_(0, rows_of_tracks, self._spectra(torch.from_numpy(tracks)) * colours)
        rows, rooms = _chosen(draw.noise_room for draw in draws)
        if rows:
            responses = self.rooms.direct[rooms] + self.rooms.late[rooms]
            spectra[rows] *= self._spectra(torch.from_numpy(responses))
        return self._crops(spectra * microphone)

    def _noise_track(self, generator: np.random.Generator, level_db: float) -> NDArray[np.float32]:
        """One noise of this mean power, recorded or made."""
        samples = self.track_samples
        if self.noise is None or generator.random() < self.config.made_noise_probability:
            track = make_noise(generator, self.speech, samples)
        else:
            track = recorded_noise(generator, self.noise, samples, self.config.speed_probability)
        power = max(float(np.mean(track**2)), 10 ** (QUIETEST_DB / 10))
        return track * np.float32(10 ** (level_db / 20) / power**0.5)

    def _equalizer(
        self, generator: np.random.Generator, rows: int, swing_db: float, tilt_db: float
    ) -> Tensor:
        """Random smooth gains (rows, bins): ±swing_db in each band, ±tilt_db per octave."""
        bands_db = generator.uniform(-swing_db, swing_db, (rows, len(EQUALIZER_HZ)))
        octaves = np.arange(len(EQUALIZER_HZ)) - len(EQUALIZER_HZ) / 2
        bands_db += generator.uniform(-tilt_db, tilt_db, (rows, 1)) * octaves
        bands_db *= generator.random((rows, 1)) < self.config.equalization_probability
        return gain(torch.from_numpy(bands_db.astype(np.float32)) @ self._bands)

    def _lowpass(self, draws: list[Draw]) -> Tensor:
        """Gains (crops, bins) of a 12th-order low-pass where one was drawn, 1 elsewhere."""
        gains = torch.ones(len(draws), len(self._hz))
        for row, draw in enumerate(draws):
            if draw.lowpass_hz is not None:
                gains[row] = torch.rsqrt(1 + (self._hz / draw.lowpass_hz) ** 24)
        return gains

    def _spectra(self, tracks: Tensor) -> Tensor:
        spectra: Tensor = torch.fft.rfft(tracks, self.track_samples)
        return spectra

    def _crops(self, spectra: Tensor) -> Tensor:
        tracks: Tensor = torch.fft.irfft(spectra, self.track_samples)
        return tracks[:, -self.config.crop_samples :]


class MixtureBatches(torch.utils.data.Dataset[Mixture]):
    """Item `step` is the batch of that step: for a DataLoader with batch_size=None."""

    def __init__(self, mixer: Mixer, crops: int, rank: int = 0) -> None:
        self.mixer, self.crops, self.rank = mixer, crops, rank

    def __getitem__(self, step: int) -> Mixture:
        return self.mixer.batch(step, self.crops, self.rank)


def balance(draws: Sequence[Draw], voice: Tensor, room: Tensor, noise: Tensor) -> Mixture:
    """Bring the parts (crops, samples) to the drawn level and SNR, then add them up.

    A peak above full scale turns all parts down. What clipping does to a mixture is counted as
    noise; a mixture without noise is not clipped.
    """
    level_dbfs = torch.tensor([draw.level_dbfs for draw in draws])
    snr_db = torch.tensor([draw.snr_db for draw in draws])
    speech_db = active_level_db(voice + room).clamp(min=QUIETEST_DB)
    change = gain(level_dbfs - speech_db)[:, None]
    voice, room = voice * change, room * change
    noise = scale_to_snr(noise, level_dbfs, snr_db, QUIETEST_DB)
    peak = (voice + room + noise).abs().amax(dim=1, keepdim=True)
    scale = PEAK / peak.clamp(min=PEAK)
    voice, room, noise = voice * scale, room * scale, noise * scale
    for row, draw in enumerate(draws):
        if draw.clipping_db is not None and draw.noises_db:
            mixed = voice[row] + room[row] + noise[row]
            limit = float(mixed.abs().max()) * 10 ** (-draw.clipping_db / 20)
            noise[row] += mixed.clamp(-limit, limit) - mixed
    return Mixture(voice + room + noise, voice, room, noise)


def _maybe(
    generator: np.random.Generator, probability: float, value: Callable[[], Value]
) -> Value | None:
    return value() if generator.random() < probability else None


def _chosen(rooms: Iterable[int | None]) -> tuple[list[int], list[int]]:
    """The crops that have a room, and which."""
    chosen = [(row, room) for row, room in enumerate(rooms) if room is not None]
    return [row for row, _ in chosen], [room for _, room in chosen]


def _equalizer_bands(hz: Tensor) -> Tensor:
    """Raised cosines over log frequency, one per band, that add up to 1: (bands, bins)."""
    last = len(EQUALIZER_HZ) - 1
    octave = torch.log2(hz.clamp(min=EQUALIZER_HZ[0]) / EQUALIZER_HZ[0]).clamp(max=last)
    distance = octave - torch.arange(last + 1)[:, None]
    return 0.5 + 0.5 * torch.cos(np.pi * distance.clamp(-1, 1))
