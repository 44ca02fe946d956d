"""How much of an adaptation is used: none is the base to the bit, all is what was learned, no choice costs too much."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_adapt_run import METHODS, base, domain, settings

from truenet.mixing import Mixture
from truenet.verification import voice_alone
from truenet.weights import save_weights
from truenet_apps import adapt_strength
from truenet_apps.adapt_config import AdaptConfig, Method
from truenet_apps.adapt_proof import model_file
from truenet_apps.adapt_run import Adaptation
from truenet_apps.adapt_scores import Examples
from truenet_apps.adapt_strength import Trial, best, choose
from truenet_apps.adapt_write import trial_model, write_merged
from truenet_apps.merge import merged

changes = st.floats(-1, 1) | st.just(float("nan"))
trials = st.lists(st.builds(Trial, st.floats(0.01, 1), changes, changes), max_size=6)


@given(trials, st.floats(0, 0.2))
def test_what_is_chosen_gains_and_loses_no_more_than_is_allowed(
    tried: list[Trial], most_lost: float
) -> None:
    strength = best(tried, most_lost)
    allowed = [trial for trial in tried if trial.elsewhere >= -most_lost and trial.here > 0]
    if not allowed:
        assert strength == 0
        return
    taken = [trial for trial in allowed if trial.strength == strength]
    assert max(trial.here for trial in taken) == max(trial.here for trial in allowed)


def adapted(method: Method) -> Adaptation:
    config = settings(method, steps=2, learning_rate=2e-2)
    run = Adaptation(config, base(), domain(config, 1), domain(config, 2))
    run.train(lambda _: None)
    run.best = run.values()  # better or not, they moved
    return run


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_the_base_and_all_is_what_was_learned(method: Method, tmp_path: Path) -> None:
    run, before = adapted(method), base().state_dict()
    save_weights(base(), tmp_path / "base.safetensors", {})
    weights = {}
    for strength in (0.0, 0.25, 0.5, 1.0):
        run.take_best(strength)
        weights[strength] = {n: v.clone() for n, v in run.model.state_dict().items()}
        out = tmp_path / "out.safetensors"
        write_merged(run, strength, tmp_path / "base.safetensors", tmp_path / "a.adapter", out)
        written, facts = merged(tmp_path / "base.safetensors", tmp_path / "a.adapter")
        assert facts["adapted_to"] == "a"
        for name, value in written.state_dict().items():
            torch.testing.assert_close(value, weights[strength][name], rtol=2e-3, atol=2e-4)
            assert strength or torch.equal(value, before[name]), name
    run.training.resume(run.best, 0)
    moved = 0.0
    for name, value in run.model.state_dict().items():
        assert torch.equal(weights[0.0][name], before[name]), name
        assert torch.equal(weights[1.0][name], value), name
        way = (value - before[name]).float()
        part = (weights[0.25][name] - before[name]).float()
        torch.testing.assert_close(part, way * 0.25, rtol=1e-3, atol=1e-6)
        moved += float(way.abs().sum())
    assert moved > 0


class Asked:
    """A domain that may be asked for mixtures to try strengths on, and for no others."""

    def __init__(self, gain: Callable[[float], float]) -> None:
        self.trial, self.gain = self, gain

    def batch(self, step: int, crops: int, rank: int = 0) -> Mixture:
        parts = torch.full((3, crops, 8), self.gain(1.0))
        return Mixture(parts.sum(0), *parts)


def test_trials_are_of_watched_mixtures_and_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    domains: Any = (Asked(lambda s: s * (1.4 - s)), Asked(lambda s: -0.1 * s))

    def scores(examples: Examples, strength: Any) -> Any:
        one = domains[0] if examples.clean[0, 0] > 0 else domains[1]
        return np.array([1 + one.gain(strength), np.nan, 3 + one.gain(strength)])

    monkeypatch.setattr(adapt_strength, "_scores", scores)
    made: list[float] = []

    def adapted(strength: float) -> Any:
        made.append(strength)
        return strength

    config = AdaptConfig(strengths=(0.25, 0.5, 0.75, 1.0), trial_mixtures=2, most_lost_pesq=0.08)
    before: Any = 0.0
    choice = choose(config, domains, before, adapted)
    assert choice.strength == 0.75  # the best of all
    assert made == list(config.strengths)
    assert [trial.here for trial in choice.trials] == pytest.approx([0.2875, 0.45, 0.4875, 0.4])
    assert [trial.elsewhere for trial in choice.trials] == pytest.approx(
        [-0.025, -0.05, -0.075, -0.1]
    )
    less = dataclasses.replace(config, most_lost_pesq=0.06)
    assert choose(less, domains, before, adapted).strength == 0.5
    nothing = choose(dataclasses.replace(config, most_lost_pesq=0.01), domains, before, adapted)
    assert nothing.strength == 0
    assert "none gained here and lost at most 0.01 PESQ-WB" in nothing.lines()[-1]
    made.clear()
    given = choose(dataclasses.replace(config, strengths=(0.3,)), domains, before, adapted)
    assert given.as_json() == {"chosen": 0.3, "words": "strength 0.3, as given", "trials": []}
    assert not made


def test_a_trial_runs_what_would_be_written(tmp_path: Path) -> None:
    run, base_path = adapted("paca"), tmp_path / "base.safetensors"
    save_weights(base(), base_path, {})
    tried = trial_model(run, 0.5, base_path, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    write_merged(run, 0.5, base_path, tmp_path / "a.adapter", tmp_path / "w.safetensors")
    noisy = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 0.1
    written = voice_alone(model_file(tmp_path / "w.safetensors"), noisy)
    np.testing.assert_array_equal(voice_alone(tried, noisy), written)


@pytest.mark.parametrize("strengths", [(), (0.5, 1.5), (-0.1,)])
def test_strengths_that_are_none(strengths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="give one or more, each 0 to 1"):
        AdaptConfig(strengths=strengths)
