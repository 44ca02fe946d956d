"""Training mixtures on the fly: speech, rooms and noise, with all three parts known.

A batch is a function of (seed, rank, step) alone, so that a resumed run sees what an uninterrupted one would.
Convention (that of the validation set): SNR is the level of the active frames of the speech, after the
room, against the RMS of the noise. Filters and levels act on all parts alike, so that
mixture = voice + room + noise holds throughout.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchaudio.functional as audio_functional
from scipy.fft import next_fast_len
from torch import Tensor
from torch.utils.data import Dataset

from truenet.config import MixingConfig
from truenet.made_noise import KINDS
from truenet.rooms import BEFORE_SAMPLES, LONGEST_SAMPLES, Rooms, simulate_rooms, split_rooms
from truenet.sources import SAMPLE_RATE_HZ, Float32, Recordings, read_folders

SPEEDS = (17, 18, 19, 21, 22, 23)  # twentieths: simple ratios keep the resampling kernels short
_SIMULATED_ROOMS = 64
_ACTIVE_FRAME_SAMPLES = SAMPLE_RATE_HZ // 50
_ACTIVE_RANGE_DB = 30.0  # frames this far below the loudest count as pauses
_FADE_SAMPLES = SAMPLE_RATE_HZ // 100
_EQUALIZER_HZ = (80.0, 200.0, 500.0, 1200.0, 2500.0, 4500.0, 7500.0)

Generator = np.random.Generator


class Mixture(NamedTuple):
    """(crops, samples) float32 each; mixture = voice + room + noise. What clipping adds counts as noise."""

    mixture: Tensor
    voice: Tensor
    room: Tensor
    noise: Tensor


@dataclass
class _Plan:
    """What was drawn for one crop before the filters."""

    speech: Float32
    noise: Float32
    room: int | None
    noise_room: int | None
    speech_curve_db: Float32 | None
    noise_curve_db: Float32 | None
    microphone_curve_db: Float32 | None
    snr_db: float
    level_dbfs: float
    clip_db: float | None


class Mixer:
    """Draws batches of mixtures.

    Args:
        config: probabilities and ranges; its folders are not read here.
        speech, noise: recordings.
        rooms: split responses.
        seed: of the whole run.
    """

    def __init__(
        self, config: MixingConfig, speech: Recordings, noise: Recordings, rooms: Rooms, seed: int
    ) -> None:
        self.config, self.speech, self.noise, self.rooms, self.seed = (
            config,
            speech,
            noise,
            rooms,
            seed,
        )
        self.transform_samples = int(
            next_fast_len(config.crop_samples + LONGEST_SAMPLES, real=True)
        )
        frequency = torch.fft.rfftfreq(self.transform_samples, 1 / SAMPLE_RATE_HZ)
        self.octaves = torch.log2(frequency.clamp(min=20.0)).numpy()

    def batch(self, step: int, crops: int, rank: int = 0) -> Mixture:
        """Batch `step` of process `rank`: `crops` mixtures."""
        generator = np.random.default_rng([self.seed, rank, step])
        plans = [self._plan(generator) for _ in range(crops)]
        voice, room, noise = self._filter(plans)
        return _level(voice, room, noise, plans)

    def _plan(self, generator: Generator) -> _Plan:
        config = self.config
        samples = config.crop_samples
        kind = generator.uniform()
        silent = kind < config.silence_probability
        speechless = silent or kind < config.silence_probability + config.noise_only_probability
        noiseless = silent or kind > 1 - config.clean_only_probability

        def chance(probability: float) -> bool:
            return bool(generator.uniform() < probability)

        reverberant = chance(config.room_probability)
        colored = config.equalization_probability
        return _Plan(
            speech=np.zeros(samples, np.float32) if speechless else self._speech(generator),
            noise=np.zeros(samples, np.float32) if noiseless else self._noise(generator),
            room=int(generator.integers(len(self.rooms)))
            if reverberant and not speechless
            else None,
            noise_room=int(generator.integers(len(self.rooms)))
            if reverberant and chance(0.5)
            else None,
            speech_curve_db=self._curve(generator, 4.0) if chance(colored) else None,
            noise_curve_db=self._curve(generator, 8.0) if chance(colored) else None,
            microphone_curve_db=self._microphone(generator),
            snr_db=generator.uniform(*config.snr_db),
            level_dbfs=generator.uniform(*config.level_dbfs),
            clip_db=generator.uniform(1.0, 8.0) if chance(config.clipping_probability) else None,
        )

    def _speech(self, generator: Generator) -> Float32:
        """Utterances one after another, with pauses, at one speed; mostly one recording's talker at a time."""
        twentieths = 20
        if generator.uniform() < self.config.speed_probability:
            twentieths = int(generator.choice(SPEEDS))
        samples = self.config.crop_samples * twentieths // 20 + 1
        line = np.zeros(samples, np.float32)
        place = int(generator.uniform(-0.5, 0.3) * SAMPLE_RATE_HZ)
        while place < samples:
            utterance = _gate(self.speech.draw(generator))
            longest = samples - max(place, 0)
            if len(utterance) > longest:
                begin = int(generator.integers(0, len(utterance) - longest + 1))
                utterance = utterance[begin : begin + longest]
            gain = 10 ** (generator.uniform(-3.0, 3.0) / 20) / _active_rms(utterance)
            _add(line, utterance * np.float32(gain), max(place, 0))
            place = (
                max(place, 0) + len(utterance) + int(generator.uniform(0.02, 0.6) * SAMPLE_RATE_HZ)
            )
        return _at_speed(line, twentieths)[: self.config.crop_samples]

    def _noise(self, generator: Generator) -> Float32:
        total = self._one_noise(generator)
        if generator.uniform() < self.config.second_noise_probability:
            total = total + 10 ** (generator.uniform(-12.0, 0.0) / 20) * self._one_noise(generator)
        return total.astype(np.float32)

    def _one_noise(self, generator: Generator) -> Float32:
        samples = self.config.crop_samples
        if generator.uniform() < self.config.made_noise_probability:
            kind = int(generator.integers(len(KINDS) + 1))
            noise = (
                self._babble(generator) if kind == len(KINDS) else KINDS[kind](generator, samples)
            )
        else:
            noise = self._recorded_noise(generator)
        return noise / np.float32(np.sqrt(np.mean(noise**2)) + 1e-9)

    def _recorded_noise(self, generator: Generator) -> Float32:
        """One recording, from a random place on and round again, at a random speed."""
        twentieths = int(generator.choice((16, 18, 20, 22, 25)))
        samples = self.config.crop_samples * twentieths // 20 + 1
        recording = self.noise.draw(generator)
        line = np.zeros(samples, np.float32)
        begin = int(generator.integers(len(recording)))
        piece, place = recording[begin:], 0
        while len(piece) < samples - place:
            _add(line, piece, place)
            place += max(len(piece) - _FADE_SAMPLES, 0)
            piece = recording
        _add(line, piece[: samples - place], place)
        return _at_speed(line, twentieths)[: self.config.crop_samples]

    def _babble(self, generator: Generator) -> Float32:
        total = np.zeros(self.config.crop_samples, np.float32)
        for _ in range(int(generator.integers(3, 8))):
            total += 10 ** (generator.uniform(-8.0, 0.0) / 20) * self._speech(generator)
        return total

    def _curve(self, generator: Generator, deviation_db: float) -> Float32:
        """A smooth random gain over frequency, in dB."""
        points = generator.normal(0.0, deviation_db, len(_EQUALIZER_HZ))
        curve: Float32 = np.interp(self.octaves, np.log2(_EQUALIZER_HZ), points).astype(np.float32)
        return curve

    def _microphone(self, generator: Generator) -> Float32 | None:
        """What colours everything alike: a gentle curve, sometimes the upper band missing."""
        curve = None
        if generator.uniform() < self.config.equalization_probability:
            curve = self._curve(generator, 3.0)
        if generator.uniform() < self.config.lowpass_probability:
            edge = np.log2(generator.uniform(3000.0, 7000.0))
            curve = (0 if curve is None else curve) - np.clip((self.octaves - edge) * 120, 0, 60)
        return curve

    def _filter(self, plans: list[_Plan]) -> tuple[Tensor, Tensor, Tensor]:
        """Rooms and equalizers, in one pass through the frequency domain."""
        speech = self._transform([plan.speech for plan in plans])
        noise = self._transform([plan.noise for plan in plans])
        for row, plan in enumerate(plans):
            speech[row] *= _gain(plan.speech_curve_db, plan.microphone_curve_db)
            noise[row] *= _gain(plan.noise_curve_db, plan.microphone_curve_db)
            if plan.noise_room is not None:
                whole = self.rooms.direct[plan.noise_room] + self.rooms.late[plan.noise_room]
                noise[row] *= self._response(whole)
        room = torch.zeros_like(speech)
        for row, plan in enumerate(plans):
            if plan.room is not None:
                room[row] = speech[row] * self._response(self.rooms.late[plan.room])
                speech[row] *= self._response(self.rooms.direct[plan.room])
        samples = self.config.crop_samples
        parts = torch.fft.irfft(torch.cat([speech, room, noise]), n=self.transform_samples)
        voice, late, rest = parts[:, :samples].chunk(3)
        return voice, late, rest

    def _transform(self, lines: list[Float32]) -> Tensor:
        return torch.fft.rfft(torch.from_numpy(np.stack(lines)), n=self.transform_samples)

    def _response(self, response: Tensor) -> Tensor:
        """The spectrum of a response whose last samples precede the direct path."""
        after, before = response.split([len(response) - BEFORE_SAMPLES, BEFORE_SAMPLES])
        gap = response.new_zeros(self.transform_samples - len(response))
        return torch.fft.rfft(torch.cat([after, gap, before]))


def _gain(*curves_db: Float32 | None) -> Tensor | float:
    total = sum((curve for curve in curves_db if curve is not None), np.float32(0))
    return 1.0 if isinstance(total, np.float32) else torch.from_numpy(10 ** (total / 20))


def _level(voice: Tensor, room: Tensor, noise: Tensor, plans: list[_Plan]) -> Mixture:
    """Noise to its SNR, all to their level, peaks below full scale; then clipping where it was drawn."""
    snr_db = torch.tensor([plan.snr_db for plan in plans])
    level = 10 ** (torch.tensor([plan.level_dbfs for plan in plans]) / 20)
    noise = scale_to_snr(voice + room, noise, snr_db)
    mixture = voice + room + noise
    reference = active_rms(mixture)
    peak = mixture.abs().amax(dim=1)
    gain = torch.minimum(level / reference, 0.99 / peak.clamp(min=1e-9))
    gain = torch.where(peak > 0, gain, 1.0)[:, None]
    mixture, voice, room, noise = mixture * gain, voice * gain, room * gain, noise * gain
    for row, plan in enumerate(plans):
        if plan.clip_db is not None:
            limit = float(mixture[row].abs().max()) * 10 ** (-plan.clip_db / 20)
            clipped = mixture[row].clamp(-limit, limit)
            noise[row] += clipped - mixture[row]
            mixture[row] = clipped
    return Mixture(mixture, voice, room, noise)


def scale_to_snr(speech: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Noise scaled so that the active level of the speech stands `snr_db` above the noise's RMS.

    Args:
        speech, noise: (crops, samples); where either is silent the noise stays as it is.
        snr_db: (crops,).
    """
    wanted = active_rms(speech) * 10 ** (-snr_db / 20)
    rms = noise.square().mean(dim=1).sqrt()
    heard = (rms > 1e-7) & (speech.abs().amax(dim=1) > 1e-7)
    return noise * torch.where(heard, wanted / rms.clamp(min=1e-7), 1.0)[:, None]


def active_rms(signal: Tensor) -> Tensor:
    """(crops, samples) to (crops,): RMS of the 20 ms frames within 30 dB of the loudest."""
    frames = signal[:, : signal.shape[1] // _ACTIVE_FRAME_SAMPLES * _ACTIVE_FRAME_SAMPLES]
    power = frames.unflatten(1, (-1, _ACTIVE_FRAME_SAMPLES)).square().mean(dim=2)
    active = power >= power.amax(dim=1, keepdim=True) * 10 ** (-_ACTIVE_RANGE_DB / 10)
    return ((power * active).sum(dim=1) / active.sum(dim=1)).sqrt().clamp(min=1e-9)


def _active_rms(signal: Float32) -> float:
    padded = np.pad(signal, (0, max(0, _ACTIVE_FRAME_SAMPLES - len(signal))))
    return float(active_rms(torch.from_numpy(padded)[None])[0])


def _gate(utterance: Float32) -> Float32:
    """Turn down what lies more than 30 dB below the voice by a further 15 dB: recordings carry noise floors, and a
    target that has one teaches the model to leak."""
    count = len(utterance) // _FADE_SAMPLES
    if count < 3:
        return utterance
    power = np.mean(utterance[: count * _FADE_SAMPLES].reshape(count, -1) ** 2, axis=1)
    loud = np.sort(power)[-max(count // 4, 1) :].mean()
    # A frame is open when it or a neighbour within 30 ms is not below the threshold.
    opened = np.convolve(power > loud * 1e-3, np.ones(7), "same") > 0
    smoothed = np.convolve(np.pad(opened.astype(np.float32), 2, "edge"), np.full(5, 0.2), "valid")
    gain_db = -15.0 * (1 - smoothed)
    places = np.arange(len(utterance)) / _FADE_SAMPLES - 0.5
    gain = 10 ** (np.interp(places, np.arange(count), gain_db) / 20)
    gated: Float32 = (utterance * gain).astype(np.float32)
    return gated


def _add(line: Float32, piece: Float32, place: int) -> None:
    """Add a piece with short fades at both ends, so that joins do not click."""
    fade = min(_FADE_SAMPLES, len(piece) // 2)
    piece = piece.copy()
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    piece[:fade] *= ramp
    piece[len(piece) - fade :] *= ramp[::-1]
    line[place : place + len(piece)] += piece


def _at_speed(line: Float32, twentieths: int) -> Float32:
    if twentieths == 20:
        return line
    faster = audio_functional.resample(
        torch.from_numpy(line), twentieths, 20, lowpass_filter_width=12
    )
    return faster.numpy()


class MixtureBatches(Dataset[Mixture]):
    """Item `step` is the whole batch of that step; for a DataLoader with batch_size=None."""

    def __init__(self, mixer: Mixer, crops: int, rank: int = 0) -> None:
        self.mixer, self.crops, self.rank = mixer, crops, rank

    def __getitem__(self, step: int) -> Mixture:
        return self.mixer.batch(step, self.crops, self.rank)


def open_mixer(config: MixingConfig, seed: int, cache: Path | None = None) -> Mixer:
    """Read the folders of a config; without folders of rooms some are simulated.

    Raises:
        ValueError: a folder is missing or holds no audio, or speech or noise have none.
    """
    for purpose in ("speech", "noise"):
        if not getattr(config, purpose):
            raise ValueError(f"the config names no {purpose} folders: set mixing.{purpose}")
    speech = read_folders(config.speech, "speech", cache)
    noise = read_folders(config.noise, "noise", cache)
    if config.rooms:
        rooms = split_rooms(read_folders(config.rooms, "rooms", cache), config.direct_ms)
    else:
        rooms = split_rooms(simulate_rooms(_SIMULATED_ROOMS, seed), config.direct_ms)
    return Mixer(config, speech, noise, rooms, seed)
