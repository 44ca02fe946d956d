"""Scores are those of the model file, and a verdict needs an interval above nothing."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY

from truenet.evaluation import Summary
from truenet.streaming import StreamingTRUNet
from truenet.validation import enhance
from truenet.verification import voice_alone
from truenet.weights import save_weights
from truenet_apps.adapt_proof import model_file
from truenet_apps.adapt_report import failures
from truenet_apps.adapt_scores import Comparison


@pytest.mark.parametrize("samples", [1, 4000, 12_800])
def test_voices_are_aligned_and_those_of_the_weights(samples: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = StreamingTRUNet(TINY).eval()
    save_weights(model, tmp_path / "w.safetensors", {})
    noisy = np.random.default_rng(0).standard_normal((3, samples)).astype(np.float32) * 0.1
    found = voice_alone(model_file(tmp_path / "w.safetensors"), noisy)
    assert found.shape == noisy.shape
    for row, voice in zip(noisy, found, strict=True):
        np.testing.assert_allclose(voice, enhance(model, torch.from_numpy(row)), atol=2e-5)


def comparison(gain: float, half: float) -> dict[str, Comparison]:
    summary = Summary(24, 1.5, 1.5 + gain, gain, gain - half, gain + half)
    return {"pesq_wb": Comparison(1.2, summary)}


@pytest.mark.parametrize(
    ("here", "half", "elsewhere", "words"),
    [
        (0.05, 0.02, 0.0, []),
        (0.05, 0.02, -0.05, []),
        (0.05, 0.06, 0.0, ["changed by +0.05 (-0.01 to +0.11)"]),
        (0.05, 0.05, 0.0, ["changed by +0.05 (+0.00 to +0.10)"]),
        (-0.05, 0.01, 0.0, ["changed by -0.05"]),
        (0.05, 0.02, -0.06, ["original domain fell by 0.06"]),
        (-0.05, 0.02, -0.06, ["new domain", "original domain"]),
        (math.nan, math.nan, 0.0, ["new domain"]),
        (0.05, 0.02, math.nan, ["original domain"]),
    ],
)
def test_the_verdict(here: float, half: float, elsewhere: float, words: list[str]) -> None:
    found = failures(comparison(here, half), comparison(elsewhere, 0.01), 100)
    assert len(found) == len(words)
    for text, word in zip(found, words, strict=True):
        assert word in text
