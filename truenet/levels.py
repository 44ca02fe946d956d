"""Levels of signals, in dB, along the last axis; and the gate that follows them.

The level of speech is that of its active frames, or it would say how much was said.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

ACTIVE_FRAME_SAMPLES = 512
ACTIVE_RANGE_DB = 25.0  # reproduces the SNR labels of the validation mixtures within 0.1 dB
SILENCE_DB = -200.0
GATE_HOP_SAMPLES = 160
GATE_BEGINS_DB, GATE_ENDS_DB = -26.0, -34.0


def gain(level_db: Tensor) -> Tensor:
    """The factor that changes a level by so many dB."""
    return torch.exp(level_db * (math.log(10) / 20))


def power_db(signal: Tensor) -> Tensor:
    """Mean power of (..., samples), 0 dB is full scale squared; SILENCE_DB for silence."""
    return _decibels(signal.square().mean(dim=-1))


def active_level_db(speech: Tensor) -> Tensor:
    """Mean power of the active frames of (..., samples): those within 25 dB of the loudest."""
    frame_samples = min(ACTIVE_FRAME_SAMPLES, speech.shape[-1])
    power = speech.unfold(-1, frame_samples, frame_samples).square().mean(dim=-1)
    active = power >= power.amax(dim=-1, keepdim=True) * 10 ** (-ACTIVE_RANGE_DB / 10)
    return _decibels((power * active).sum(dim=-1) / active.sum(dim=-1))


def scale_to_snr(noise: Tensor, speech_level_db: Tensor, snr_db: Tensor, floor_db: float) -> Tensor:
    """Bring noise (rows, samples) to snr_db (rows,) below the active level of the speech (rows,).

    Noise below floor_db counts as silence and is not turned up to the level that was asked for.
    """
    change_db = speech_level_db - snr_db - power_db(noise).clamp(min=floor_db)
    return noise * gain(change_db)[:, None]


def gate(speech: Tensor, depth_db: float) -> Tensor:
    """Turn down the noise floor in the pauses: a model learns to keep what its targets hold.

    Shape (rows, samples). Frames 26 dB below the active level begin to fall, those 34 dB below it
    fall by depth_db. Frames within 30 ms of louder ones are held, so that the ends of words stay.
    """
    hop = GATE_HOP_SAMPLES
    power = functional.avg_pool1d(speech.square()[:, None], 2 * hop, hop, padding=hop)
    held_db = _decibels(functional.max_pool1d(power, 11, 1, padding=5))
    below_db = GATE_BEGINS_DB - held_db + active_level_db(speech)[:, None, None]
    share = (below_db / (GATE_BEGINS_DB - GATE_ENDS_DB)).clamp(0, 1)
    smooth = functional.avg_pool1d(share, 5, 1, padding=2, count_include_pad=False)
    change_db = functional.interpolate(-depth_db * smooth, speech.shape[-1], mode="linear")
    return speech * gain(change_db)[:, 0]


def _decibels(power: Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp(min=10 ** (SILENCE_DB / 10)))
