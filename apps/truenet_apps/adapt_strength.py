"""How much of what was learned is used: somewhere between the base and the adapted weights (arXiv 2109.01903).

Most of the gain in the place comes with the first half of the way, most of what is lost elsewhere with the second. So
a few strengths are tried, each as the model file that would be written, on mixtures that are neither trained on nor
reported on.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truenet.modelfile import ModelFile
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_domains import Domain
from truenet_apps.adapt_scores import Examples

_METRIC = "pesq_wb"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A strength, and the mean changes of PESQ-WB in both domains; NaN where nothing could be scored."""

    strength: float
    here: float
    elsewhere: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """The strength, and the trials it was chosen by: none where it was given.

    most_lost: of PESQ-WB in the original domain, by what may be chosen.
    """

    strength: float
    trials: tuple[Trial, ...] = ()
    most_lost: float = 0.0

    @property
    def words(self) -> str:
        """For people."""
        if not self.trials:
            return f"strength {self.strength:g}, as given"
        limit = f"at most {self.most_lost:g} PESQ-WB"
        if not self.strength:
            return f"strength 0, the base as it was: none gained here and lost {limit} elsewhere"
        return f"strength {self.strength:g}: the best here of those that lose {limit} elsewhere"

    def lines(self) -> list[str]:
        """A small table and the choice."""
        rows = [
            f"  {trial.strength:<14g} {trial.here:>+8.3f} {trial.elsewhere:>+10.3f}"
            for trial in self.trials
        ]
        head = [
            f"{'strength':<16} {'here':>8} {'elsewhere':>10}   change of PESQ-WB, watched mixtures"
        ]
        return [*(head if rows else ()), *rows, self.words]

    def as_json(self) -> dict[str, Any]:
        """Plain values; what could not be scored is null."""
        return {
            "chosen": self.strength,
            "words": self.words,
            "trials": [
                {n: v if math.isfinite(v) else None for n, v in dataclasses.asdict(trial).items()}
                for trial in self.trials
            ],
        }


def choose(
    config: AdaptConfig,
    domains: tuple[Domain, Domain],
    base: ModelFile,
    adapted: Callable[[float], ModelFile],
) -> Choice:
    """Try the strengths of the config, unless it names a single one.

    Args:
        config: see there.
        domains: new and original.
        base: before.
        adapted: makes the model file of a strength.
    """
    if len(config.strengths) == 1:
        return Choice(config.strengths[0])
    examples = [Examples.draw(domain.trial, config.trial_mixtures) for domain in domains]
    before = [_scores(some, base) for some in examples]
    trials = []
    for strength in config.strengths:
        model = adapted(strength)
        changes = [_scores(some, model) - old for some, old in zip(examples, before, strict=True)]
        trials.append(Trial(strength, *map(_mean, changes)))
    strength = best(trials, config.most_lost_pesq)
    return Choice(strength, tuple(trials), config.most_lost_pesq)


def best(trials: Sequence[Trial], most_lost: float) -> float:
    """The strength with the largest gain of those that lose no more elsewhere; 0 where none of them gains."""
    allowed = [trial for trial in trials if trial.elsewhere >= -most_lost and trial.here > 0]
    return max(allowed, key=lambda trial: trial.here).strength if allowed else 0.0


def _scores(examples: Examples, model: ModelFile) -> NDArray[np.float64]:
    """(mixtures,)"""
    found = examples.scores(examples.voices(model), (_METRIC,))
    return np.array([score[_METRIC] for score in found])


def _mean(changes: NDArray[np.float64]) -> float:
    """Over the mixtures that have a score."""
    scored = changes[np.isfinite(changes)]
    return float(scored.mean()) if scored.size else math.nan
