"""Scores of held-out mixtures before and after: PESQ-WB, STOI and SI-SDR of the voice alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from truenet.evaluation import Pair, Row, Summary, summarize
from truenet.metrics import measure
from truenet.streaming import StreamingTRUNet
from truenet.training import estimate_parts
from truenet_apps.adapt_domains import Domain

METRICS = ("pesq_wb", "stoi", "si_sdr_db")
CROPS_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Examples:
    """Held-out mixtures (mixtures, samples) and their clean voices."""

    noisy: Tensor
    clean: Tensor

    @classmethod
    def draw(cls, domain: Domain, count: int) -> "Examples":
        """Always the same ones of a domain."""
        drawn = [domain.report.batch(index, 1) for index in range(count)]
        return cls(torch.cat([m.mixture for m in drawn]), torch.cat([m.voice for m in drawn]))


@torch.no_grad()
def voices(model: StreamingTRUNet, noisy: Tensor) -> NDArray[np.float32]:
    """(mixtures, samples) what a model in evaluation mode takes for the voice."""
    parts = [estimate_parts(model, rows)[0][0] for rows in noisy.split(CROPS_AT_ONCE)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def scores(
    clean: Tensor, estimates: NDArray[np.float32], tick: Callable[[], None] = lambda: None
) -> list[dict[str, float]]:
    """Of every mixture, by metric."""
    found = []
    for voice, estimate in zip(clean.numpy(), estimates, strict=True):
        found.append(measure(voice, estimate, METRICS))
        tick()
    return found


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
