"""Our network as a task for the comparison of fine-tuning methods, from the repository's folder:

    PYTHONPATH=scripts python -m partialgrad.benchmarks --model partialgrad_task:trunet

The shipped weights learn one machine's sound (mains hum under crackle) from three of the voices in samples/clean; the
fourth voice is what they are tested on.
"""

from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partialgrad import Rule
from partialgrad.benchmarks import Task
from partialgrad.dropbp import Branches, levels
from truenet.modelfile import SHIPPED_MODEL
from truenet.weights import load_weights

SAMPLES = Path(__file__).parents[1] / "samples" / "clean"
CROP_SAMPLES = 16_000
SNR_DB = 0.0

Samples = NDArray[np.float64]
Batch = tuple[Tensor, Tensor]


class Voice(nn.Module):
    """The streaming model from zero state with only the voice kept: (batch, samples) to the same, in time."""

    def __init__(self) -> None:
        super().__init__()
        self.streaming, _ = load_weights(SHIPPED_MODEL.with_suffix(".safetensors"))

    def forward(self, mixture: Tensor) -> Tensor:
        """See the class."""
        config = self.streaming.config
        padding = config.latency_samples + -(mixture.shape[1] + config.latency_samples) % (
            config.hop_samples
        )
        state = self.streaming.initial_state(len(mixture))
        faders = mixture.new_tensor([1.0, 0.0, 0.0]).expand(len(mixture), 3)
        padded = nn.functional.pad(mixture, (0, padding))
        y: Tensor = self.streaming(padded, state, faders)[0]
        return y[:, config.latency_samples :][:, : mixture.shape[1]]


def trunet() -> Task:
    """The shipped network, one second of audio a step."""
    generator = np.random.default_rng(0)
    known = [_voice(name) for name in ("cafe", "machine", "quiet")]
    unknown = [_voice("room")]
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.GRU)
    return Task(
        "TRU-Net",
        Voice().eval(),
        error_db,
        training=[mixtures(known, 1, generator) for _ in range(50)],
        validation=[mixtures(known, 16, generator)],
        test=[mixtures(unknown, 16, generator)],
        rules=[Rule("*", fraction=1 / 8, bias=True, types=kinds)],
        head=("streaming.network.decoder.5",),
        learning_rates=(4e-4, 1.6e-3, 6.4e-3),
        branches=skip_levels,
        note="0.38 million weights, shipped; one second of audio a step; loss: error to voice in dB",
    )


def skip_levels(model: nn.Module) -> Branches:
    """What the U-Net's skips go past: encoder blocks 1 to 5 with decoder blocks 0 to 4, from the outermost."""
    network = "streaming.network"
    shells = [[f"{network}.encoder.{i}", f"{network}.decoder.{4 - i}"] for i in range(4)]
    inner = ("encoder.4", "frequency_gru", "time_gru", "decoder.0")
    return levels(model, [*shells, [f"{network}.{name}" for name in inner]])


def error_db(model: nn.Module, batch: Batch) -> Tensor:
    """Energy of the error over energy of the voice, in dB, averaged over the batch."""
    mixture, voice = batch
    ratio: Tensor = (model(mixture) - voice).square().mean(1) / voice.square().mean(1)
    return 10 * ratio.log10().mean()


def mixtures(voices: list[Samples], batch: int, generator: np.random.Generator) -> Batch:
    """Crops of voices and the same with the machine's sound at SNR_DB."""
    pairs = [_mixture(voices, generator) for _ in range(batch)]
    mixture, voice = (
        torch.tensor(np.stack(rows), dtype=torch.float32) for rows in zip(*pairs, strict=True)
    )
    return mixture, voice


def _mixture(voices: list[Samples], generator: np.random.Generator) -> tuple[Samples, Samples]:
    whole = voices[generator.integers(len(voices))]
    start = generator.integers(len(whole) - CROP_SAMPLES)
    voice = whole[start : start + CROP_SAMPLES]
    voice = voice / (np.sqrt(np.mean(np.square(voice))) + 1e-9)
    noise = _machine(generator) * 10 ** (-SNR_DB / 20)
    return 0.05 * (voice + noise), 0.05 * voice


def _machine(generator: np.random.Generator) -> Samples:
    """Hum of 100 Hz with many harmonics whose level swings, and crackle; unit power."""
    seconds = np.arange(CROP_SAMPLES) / 16_000
    harmonics = np.arange(1, 40)[:, None]
    phases = 2 * np.pi * generator.random((39, 1))
    hum = np.sin(2 * np.pi * 100 * harmonics * seconds + phases) / np.sqrt(harmonics)
    swinging = hum.sum(0) * (1 + 0.8 * np.sin(2 * np.pi * 3 * seconds + phases[0]))
    crackle = generator.standard_normal(CROP_SAMPLES) * (generator.random(CROP_SAMPLES) < 0.01)
    noise: Samples = swinging / swinging.std() + crackle / crackle.std()
    return np.asarray(noise / noise.std())


def _voice(name: str) -> Samples:
    samples: Samples = soundfile.read(SAMPLES / f"{name}.flac")[0]
    return samples
