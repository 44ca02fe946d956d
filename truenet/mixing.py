"""Training mixtures, made on the fly: voice + room + noise, each known apart.

Batch N is a pure function of (seed, rank, N), so a resumed run needs no state of its data. What is drawn per
crop is drawn with numpy; what costs time (equalisers, low-pass, rooms) is one batched FFT with torch.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from truenet.config import MixingConfig
from truenet.made_noise import make_noise, repeated, slow_curve
from truenet.rooms import LEAD_SAMPLES, RESPONSE_SAMPLES, Rooms
from truenet.sources import SAMPLE_RATE_HZ, Recordings

ACTIVE_FRAME_SAMPLES = 512
ACTIVE_RANGE_DB = 25.0  # reproduces the SNR labels of the validation mixtures within 0.1 dB
TRACK_LEVEL_DB = -25.0
QUIETEST_DB = -70.0  # a track below this is silence and is not turned up
SIMULATED_ROOMS = 48
EQUALIZER_HZ = (60.0, 120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)


class Mixture(NamedTuple):
    """Float32 tensors (crops, crop_samples); mixture is voice + room + noise, to the bit."""

    mixture: Tensor
    voice: Tensor
    room: Tensor
    noise: Tensor


@dataclasses.dataclass(frozen=True)
class Draw:
    """What was decided for one crop. room: index of a response or None; clipping_db: None leaves it whole."""

    has_speech: bool
    has_noise: bool
    room: int | None
    noise_room: int | None
    snr_db: float
    level_dbfs: float
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
        self.config, self.speech, self.noise, self.rooms, self.seed = (
            config,
            speech,
            noise,
            rooms,
            seed,
        )
        needed = config.crop_samples + RESPONSE_SAMPLES
        self._fft_samples = int(scipy.fft.next_fast_len(needed, real=True))
        self._hz = torch.fft.rfftfreq(self._fft_samples, 1 / SAMPLE_RATE_HZ)
        self._equalizer_basis = _equalizer_basis(self._hz)

    @classmethod
    def from_config(cls, config: MixingConfig, seed: int = 0, cache: Path | None = None) -> "Mixer":
        """Read the folders that the config names; `cache` keeps what was decoded for the next time.

        Raises:
            ValueError: no speech is named, or a folder is missing or holds no audio.
        """
        if not config.speech:
            raise ValueError(
                "mixing.speech names no folder; give at least one folder of recordings"
            )
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
            step, rank: which batch, for which process; 0 or more.
            crops: how many mixtures.
        """
        generator = np.random.default_rng((self.seed, rank, step))
        draws = [self.draw(generator) for _ in range(crops)]
        microphone = self._equalizer(generator, crops, 5.0, 1.0) * self._lowpass(draws)
        voice, room = self._speech(generator, draws, microphone)
        noise = self._noises(generator, draws, microphone)
        return balance(draws, voice, room, noise)

    def draw(self, generator: np.random.Generator) -> Draw:
        """Decide what one crop is made of."""
        config = self.config
        kind = generator.random()
        silent = kind < config.silence_probability
        kind -= config.silence_probability
        noise_only = not silent and kind < config.noise_only_probability
        kind -= config.noise_only_probability
        clean_only = not silent and not noise_only and kind < config.clean_only_probability

        def happens(probability: float) -> bool:
            return bool(generator.random() < probability)

        def any_room(probability: float) -> int | None:
            return int(generator.integers(len(self.rooms))) if happens(probability) else None

        return Draw(
            has_speech=not silent and not noise_only,
            has_noise=not silent and not clean_only,
            room=any_room(config.room_probability),
            noise_room=any_room(config.noise_room_probability),
            snr_db=generator.uniform(*config.snr_db),
            level_dbfs=generator.uniform(*config.level_dbfs),
            lowpass_hz=generator.uniform(3000, 7000)
            if happens(config.lowpass_probability)
            else None,
            clipping_db=generator.uniform(1, 10) if happens(config.clipping_probability) else None,
        )

    def _speech(
        self, generator: np.random.Generator, draws: list[Draw], microphone: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Voice and room of every crop, zeros where there is none."""
        voice = torch.zeros(len(draws), self.config.crop_samples)
        room = torch.zeros_like(voice)
        rows = [row for row, draw in enumerate(draws) if draw.has_speech]
        if not rows:
            return voice, room
        tracks = torch.from_numpy(np.stack([self._talk(generator) for _ in rows]))
        if self.config.gate_db > 0:
            tracks = gate(tracks, self.config.gate_db)
        spectra = torch.zeros(len(draws), len(self._hz), dtype=torch.complex64)
        spectra[rows] = torch.fft.rfft(tracks, self._fft_samples) * microphone[rows]
        roomy = [row for row in rows if draws[row].room is not None]
        if roomy:
            indices = [draws[row].room for row in roomy]
            room[roomy] = self._crop(
                spectra[roomy] * self._response(self.rooms.late[indices]), LEAD_SAMPLES
            )
            spectra[roomy] *= self._response(self.rooms.direct[indices])
            voice[roomy] = self._crop(spectra[roomy], LEAD_SAMPLES)
        dry = [row for row in rows if draws[row].room is None]
        if dry:
            voice[dry] = self._crop(spectra[dry])
        return voice, room

    def _noises(
        self, generator: np.random.Generator, draws: list[Draw], microphone: Tensor
    ) -> Tensor:
        """The noise of every crop, zeros where there is none."""
        noise = torch.zeros(len(draws), self.config.crop_samples)
        rows, tracks = [], []
        for row, draw in enumerate(draws):
            if draw.has_noise:
                second = generator.random() < self.config.second_noise_probability
                for level_db in (0.0, generator.uniform(-12, 0))[: 1 + second]:
                    rows.append(row)
                    tracks.append(self._noise_track(generator) * np.float32(10 ** (level_db / 20)))
        if not rows:
            return noise
        colour = self._equalizer(generator, len(rows), 6.0, 1.5)
        spectra = torch.fft.rfft(torch.from_numpy(np.stack(tracks)), self._fft_samples) * colour
        total = torch.zeros(len(draws), len(self._hz), dtype=torch.complex64)
        total.index_add_(0, torch.tensor(rows), spectra)
        roomy = sorted({row for row in rows if draws[row].noise_room is not None})
        if roomy:
            indices = [draws[row].noise_room for row in roomy]
            total[roomy] *= self._response(self.rooms.direct[indices] + self.rooms.late[indices])
        noisy = sorted(set(rows))
        noise[noisy] = self._crop(total[noisy] * microphone[noisy])
        return noise

    def _talk(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """Utterances one after another until the crop is full, with pauses between them."""
        track = np.zeros(self.config.crop_samples, np.float32)
        position = int(generator.integers(SAMPLE_RATE_HZ // 2)) if generator.random() < 0.5 else 0
        while position < len(track):
            most = len(track) - position
            if generator.random() < 0.3:
                most = min(most, int(generator.uniform(0.7, 2.0) * SAMPLE_RATE_HZ))
            piece = self._recorded(generator, self.speech, most)
            level_db = active_level_db(torch.from_numpy(piece)).item()
            relative_db = TRACK_LEVEL_DB + generator.uniform(-3, 3) - max(level_db, QUIETEST_DB)
            piece *= np.float32(10 ** (relative_db / 20))
            _fade_ends(piece)
            track[position : position + len(piece)] = piece
            position += len(piece) + int(generator.uniform(0.05, 0.6) * SAMPLE_RATE_HZ)
        return track

    def _noise_track(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """One noise of the crop's length and unit power."""
        samples = self.config.crop_samples
        if self.noise is None or generator.random() < self.config.made_noise_probability:
            track = make_noise(generator, self.speech, samples)
        else:
            factor = self._speed(generator)
            track = repeated(generator, self.noise, int(samples * factor) + 2)
            track = _change_speed(track, factor)[:samples]
            if generator.random() < 0.2:
                depth_db = generator.uniform(3, 10)
                curve = slow_curve(generator, samples, generator.uniform(0.5, 5))
                track = track * np.float32(10) ** (np.float32(depth_db / 20) * curve)
        power = float(np.mean(track**2))
        return track / np.float32(max(power, 10 ** (QUIETEST_DB / 10)) ** 0.5)

    def _recorded(
        self, generator: np.random.Generator, recordings: Recordings, most: int
    ) -> NDArray[np.float32]:
        factor = self._speed(generator)
        piece = recordings.excerpt(recordings.draw(generator), generator, int(most * factor) + 2)
        return _change_speed(piece, factor)[:most]

    def _speed(self, generator: np.random.Generator) -> float:
        changed = generator.random() < self.config.speed_probability
        return float(generator.uniform(0.85, 1.15)) if changed else 1.0

    def _equalizer(
        self, generator: np.random.Generator, rows: int, swing_db: float, tilt_db: float
    ) -> Tensor:
        """Random smooth gains (rows, bins): up to swing_db at each band, and a tilt in dB per octave."""
        bands = generator.uniform(-swing_db, swing_db, (rows, len(EQUALIZER_HZ)))
        octaves = np.arange(len(EQUALIZER_HZ)) - len(EQUALIZER_HZ) / 2
        bands += generator.uniform(-tilt_db, tilt_db, (rows, 1)) * octaves
        bands *= generator.random((rows, 1)) < self.config.equalization_probability
        exponent = torch.from_numpy(bands.astype(np.float32)) @ self._equalizer_basis
        return torch.exp(exponent * (np.log(10) / 20))

    def _lowpass(self, draws: list[Draw]) -> Tensor:
        gains = torch.ones(len(draws), len(self._hz))
        for row, draw in enumerate(draws):
            if draw.lowpass_hz is not None:
                gains[row] = (1 + (self._hz / draw.lowpass_hz) ** 24) ** -0.5
        return gains

    def _response(self, responses: NDArray[np.float32]) -> Tensor:
        return torch.fft.rfft(torch.from_numpy(responses), self._fft_samples)

    def _crop(self, spectra: Tensor, start: int = 0) -> Tensor:
        return torch.fft.irfft(spectra, self._fft_samples)[
            :, start : start + self.config.crop_samples
        ]


class MixtureBatches(torch.utils.data.Dataset[Mixture]):
    """Batch `step` as item `step`: for a DataLoader with batch_size=None."""

    def __init__(self, mixer: Mixer, crops: int, rank: int = 0) -> None:
        self.mixer, self.crops, self.rank = mixer, crops, rank

    def __getitem__(self, step: int) -> Mixture:
        return self.mixer.batch(step, self.crops, self.rank)


def balance(draws: list[Draw], voice: Tensor, room: Tensor, noise: Tensor) -> Mixture:
    """Bring the parts to the drawn level and SNR, keep the peak at 1 or clip, and add them up.

    What clipping adds to the mixture is counted as noise.
    """
    level_dbfs = torch.tensor([[draw.level_dbfs] for draw in draws])
    speech_db = active_level_db(voice + room).clamp(min=QUIETEST_DB)[:, None]
    gain = _from_db(level_dbfs - speech_db)
    voice, room = voice * gain, room * gain
    noise = noise * _from_db(
        level_dbfs
        - torch.tensor([[draw.snr_db] for draw in draws])
        - power_db(noise).clamp(min=QUIETEST_DB)[:, None]
    )
    peak = (voice + room + noise).abs().amax(dim=1, keepdim=True)
    scale = (0.999 / peak.clamp(min=1e-9)).clamp(max=1)
    voice, room, noise = voice * scale, room * scale, noise * scale
    for row, draw in enumerate(draws):
        if draw.clipping_db is not None and draw.has_noise:
            mixed = voice[row] + room[row] + noise[row]
            limit = float(mixed.abs().max()) * 10 ** (-draw.clipping_db / 20)
            noise[row] += mixed.clamp(-limit, limit) - mixed
    return Mixture(voice + room + noise, voice, room, noise)


def power_db(signal: Tensor) -> Tensor:
    """Mean power of (..., samples) in dB re full scale; −200 for silence."""
    return 10 * torch.log10(signal.square().mean(dim=-1).clamp(min=1e-20))


def active_level_db(speech: Tensor) -> Tensor:
    """Mean power of the active frames of (..., samples) in dB: those within 25 dB of the loudest."""
    pieces = speech[..., : max(speech.shape[-1] // ACTIVE_FRAME_SAMPLES, 1) * ACTIVE_FRAME_SAMPLES]
    frame_samples = min(ACTIVE_FRAME_SAMPLES, pieces.shape[-1])
    power = pieces.unflatten(-1, (-1, frame_samples)).square().mean(dim=-1)
    active = power >= power.amax(dim=-1, keepdim=True) * 10 ** (-ACTIVE_RANGE_DB / 10)
    level = (power * active).sum(dim=-1) / active.sum(dim=-1)
    return 10 * torch.log10(level.clamp(min=1e-20))


def gate(speech: Tensor, depth_db: float) -> Tensor:
    """Turn down what lies far below the active level, so that a model does not learn to keep noise floors.

    Frames 28 dB below the active level begin to fall, those below 36 dB fall by depth_db. Frames within 50 ms
    of louder ones are held: word ends stay. Shape (rows, samples) in and out.
    """
    hop = 160
    power = functional.avg_pool1d(
        speech.square()[:, None], 2 * hop, hop, padding=hop, count_include_pad=False
    )
    held = functional.max_pool1d(power, 11, 1, padding=5)
    relative_db = 10 * torch.log10(held.clamp(min=1e-20)) - active_level_db(speech)[:, None, None]
    depth = ((-28 - relative_db) / 8).clamp(0, 1)
    smooth = functional.avg_pool1d(depth, 5, 1, padding=2, count_include_pad=False)
    gain = functional.interpolate(_from_db(-depth_db * smooth), speech.shape[-1], mode="linear")
    return speech * gain[:, 0]


def _from_db(level_db: Tensor) -> Tensor:
    return torch.exp(level_db * (np.log(10) / 20))


def _fade_ends(piece: NDArray[np.float32]) -> None:
    """A piece cut out of a word must not begin or end in a click."""
    fade = min(128, len(piece) // 2)
    rising = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    piece[:fade] *= rising
    piece[len(piece) - fade :] *= rising[::-1]


def _change_speed(piece: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Play `factor` times as fast: pitch and formants move too, which makes a new voice."""
    if factor == 1.0:
        return piece
    return np.asarray(soxr.resample(piece, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, "LQ"))


def _equalizer_basis(hz: Tensor) -> Tensor:
    """Overlapping raised cosines over log frequency, one per band, adding up to 1: (bands, bins)."""
    position = torch.log2(hz.clamp(min=EQUALIZER_HZ[0]) / EQUALIZER_HZ[0]).clamp(
        max=len(EQUALIZER_HZ) - 1
    )
    distance = position - torch.arange(len(EQUALIZER_HZ))[:, None]
    return 0.5 + 0.5 * torch.cos(np.pi * distance.clamp(-1, 1))
