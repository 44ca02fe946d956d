"""A small convolutional recurrent network that takes white noise out of tones, and is to learn to take out clicks."""

import torch
from torch import Tensor, nn

from partialgrad.benchmarks.pretraining import pretrain
from partialgrad.benchmarks.task import Task
from partialgrad.dropbp import named
from partialgrad.rules import Rule

_HOP = 8
_SAMPLES = 1600


class Residual(nn.Module):
    """Two convolutions with batch norm, past which x goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1),
            nn.BatchNorm1d(width),
            nn.PReLU(width),
            nn.Conv1d(width, width, 3, padding=1),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, frames) to the same."""
        return x + self.convolutions(x)


class Recurrence(nn.Module):
    """A GRU over the frames, back to its input's width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, frames) to the same."""
        rows, _ = self.gru(x.transpose(1, 2))
        return self.out(rows).transpose(1, 2)


class ConvolutionalRecurrent(nn.Module):
    """(batch, samples) to the same: strided convolution, residual blocks, a recurrence, and back."""

    def __init__(self, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, width, 2 * _HOP, _HOP, _HOP // 2)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.recurrence = Recurrence(width)
        self.mix = nn.Conv1d(2 * width, width, 1)
        self.activation = nn.PReLU(width)
        self.decoder = nn.ConvTranspose1d(width, 1, 2 * _HOP, _HOP, _HOP // 2)

    def forward(self, samples: Tensor) -> Tensor:
        """See the class."""
        skip = self.encoder(samples[:, None])
        x = self.blocks(skip)
        x = x + self.recurrence(x)
        x = self.activation(self.mix(torch.cat([x, skip], 1)))
        return self.decoder(x)[:, 0]


def convolutional() -> Task:
    """0.14 million weights, 8 signals of 1600 samples a step, pretrained."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ConvolutionalRecurrent()
    white = [_noisy_tones(_white(8, generator), generator) for _ in range(300)]
    pretrain(model, error_db, white)

    def clicks(batch: int) -> tuple[Tensor, Tensor]:
        return _noisy_tones(_clicks(batch, generator), generator)

    return Task(
        "convolutional recurrent net",
        model,
        error_db,
        training=[clicks(8) for _ in range(100)],
        validation=[clicks(32)],
        test=[clicks(32)],
        rules=(
            Rule("encoder", train="bias"),
            Rule("recurrence.gru", train="nothing"),
            Rule("*", r=16, bias=True, types=(nn.Conv1d, nn.ConvTranspose1d, nn.Linear)),
        ),
        head=("mix", "activation", "decoder"),
        branches=lambda model: named(model, "blocks.*.convolutions", "recurrence"),
        learning_rates=(2e-3, 8e-3, 3.2e-2),
        note="0.14 million weights, 8 signals of 1600 samples a step; loss: error to signal in dB",
    )


def error_db(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Energy of the error over energy of the clean signal, in dB, averaged over the batch.

    Args:
        model: (batch, samples) to the same.
        batch: noisy and clean samples.
    """
    noisy, clean = batch
    ratio = (model(noisy) - clean).square().mean(1) / clean.square().mean(1)
    return 10 * ratio.log10().mean()


def _noisy_tones(noise: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Three tones each, of random frequency, phase and level, and the same with noise."""
    numbers = torch.rand(3, len(noise), 3, 1, generator=generator)
    radians = (0.02 + 0.4 * numbers[0]) * torch.arange(_SAMPLES) + 6.28 * numbers[1]
    clean = (numbers[2] * radians.sin()).sum(1)
    return clean + noise, clean


def _white(batch: int, generator: torch.Generator) -> Tensor:
    return 0.5 * torch.randn(batch, _SAMPLES, generator=generator)


def _clicks(batch: int, generator: torch.Generator) -> Tensor:
    """About one sample in fifty is off by several times the signal."""
    struck = torch.rand(batch, _SAMPLES, generator=generator) < 0.02
    return 4 * struck * torch.randn(batch, _SAMPLES, generator=generator)
