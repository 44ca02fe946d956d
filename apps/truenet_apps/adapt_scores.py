"""Scores of held-out mixtures before and after: PESQ-WB, STOI and SI-SDR of the voice alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from truenet.evaluation import Pair, Row, Summary, summarize
from truenet.metrics import measure
from truenet.modelfile import ModelFile
from truenet.verification import voice_alone
from truenet_apps.adapt_domains import Mixes

METRICS = ("pesq_wb", "stoi", "si_sdr_db")

Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Held-out mixtures (mixtures, samples) and their clean voices."""

    noisy: Samples
    clean: Samples

    @classmethod
    def draw(cls, mixes: Mixes, count: int) -> "Examples":
        """Always the same ones."""
        drawn = [mixes.batch(index, 1) for index in range(count)]
        return cls(
            np.concatenate([mixture.mixture.numpy() for mixture in drawn]),
            np.concatenate([mixture.voice.numpy() for mixture in drawn]),
        )

    def voices(self, model: ModelFile) -> Samples:
        """What a model takes for the voice in each: one by one, since all at once take gigabytes."""
        return np.stack([voice_alone(model, noisy) for noisy in self.noisy])

    def scores(
        self, estimates: Samples, metrics: Sequence[str] = METRICS
    ) -> list[dict[str, float]]:
        """Of every mixture, by metric."""
        return [measure(*pair, metrics) for pair in zip(self.clean, estimates, strict=True)]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric in one domain; `change` is after less before over mixtures that have both scores."""

    noisy: float
    change: Summary

    @property
    def is_better(self) -> bool:
        """Whether its 95 % interval lies above zero."""
        return self.change.low > 0


def compare(
    noisy: list[dict[str, float]], before: list[dict[str, float]], after: list[dict[str, float]]
) -> dict[str, Comparison]:
    """Every metric, with the interval of the paired change."""
    nowhere = Pair("mixture", Path(), Path())
    rows = [Row(nowhere, 0.0, *pair) for pair in zip(before, after, strict=True)]
    return {
        metric: Comparison(
            float(np.nanmean([score[metric] for score in noisy])), summarize(rows, metric)
        )
        for metric in METRICS
    }
