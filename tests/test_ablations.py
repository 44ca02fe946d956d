"""Every variant that scripts/ablations.py compares can be trained, and its table says what was measured."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from truenet import streaming
from truenet.config import TrainingConfig, TRUNetConfig, from_dict
from truenet.features import Features
from truenet.mask import phase_aware_mask
from truenet.training_step import TrainingStep

ROOT = Path(__file__).parents[1]
VARIANTS = 24


@pytest.fixture(scope="module")
def ablations() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("ablations")


@pytest.mark.parametrize("index", range(VARIANTS))
def test_every_variant_has_gradients(
    ablations: Any, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    assert len(ablations.VARIANTS) == VARIANTS
    name, variant = [*ablations.VARIANTS.items()][index]
    for part, replacement in variant.replaced.items():
        assert hasattr(streaming, part)
        monkeypatch.setattr(streaming, part, replacement)
    config = from_dict(TrainingConfig, ablations.recipe(name))
    torch.manual_seed(0)
    step = TrainingStep(streaming.StreamingTRUNet(config.model).train(), config)
    parts = 0.1 * torch.randn(3, 1, 16_384)
    loss, _, _ = step(parts.sum(0), parts)
    loss.backward()
    gradients = [parameter.grad for parameter in step.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


@pytest.mark.parametrize("index", range(1, VARIANTS))
def test_a_variant_differs_from_the_base(ablations: Any, index: int) -> None:
    name, variant = [*ablations.VARIANTS.items()][index]
    assert variant.replaced or ablations.recipe(name) != ablations.recipe(ablations.BASE)


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_the_smooth_chart_runs_along_the_ellipses_of_the_phase_aware_mask(
    along: float, across: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        chart = importlib.import_module("ablations").smooth_chart
    logits = torch.tensor([along, across, 0, 0, 0], dtype=torch.float64)
    mask = torch.complex(*chart(logits, "continuous"))
    sum_of_both, difference = mask.abs() + (1 - mask).abs(), mask.abs() - (1 - mask).abs()
    across_bounded = 3 * torch.tanh(logits[1] / 3)
    assert float(sum_of_both) == pytest.approx(float(torch.cosh(across_bounded)), abs=1e-4)
    assert float(difference) == pytest.approx(float(torch.tanh(logits[0])), abs=1e-4)


def test_the_table_gives_differences_with_intervals(
    ablations: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{ablations.START}\nold\n{ablations.END}\nafter\n", "utf-8")
    monkeypatch.setattr(ablations, "PAGE", page)
    with pytest.raises(SystemExit, match="train it first"):
        ablations.write_table(tmp_path)
    for name, changes in ((ablations.BASE, (0, 0)), ("hop of 256", (-0.1, -0.3))):
        rows = [{"pesq_wb": 2 + by, "stoi": 0.9, "si_sdr_db": 9.0} for by in changes]
        scores = {"parameters": 1234, "hours": 0.85, "rows": rows}
        where = ablations.folder(name, tmp_path)
        where.mkdir()
        (where / "scores.json").write_text(json.dumps(scores), "utf-8")
    ablations.write_table(tmp_path)
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| the paper's network | 1,234 | 2.13 G | 2.000 | 0.900 | 9.00 |" in text
    # Student's t of two values that are 0.2 apart: 12.706 × 0.1
    assert "| hop of 256 | 1,234 | 1.07 G | −0.200 ± 1.271 | +0.000 ± 0.000 |" in text
    assert "old" not in text


def test_what_it_uses_silences_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    cases = importlib.import_module("what_it_uses").CASES
    torch.manual_seed(0)
    features = Features(TRUNetConfig())
    frames = (*torch.randn(2, 1, 3, 256), torch.zeros(1, 258))
    with torch.no_grad():
        plain = features(*frames)[0]
        for name, silent in (("no log magnitude", [0]), ("no PCEN", [1]), ("no phase", [2, 3])):
            owner, part, replacement = cases[name]
            assert hasattr(owner, part)
            found = replacement(features, *frames)[0]
            kept = [channel for channel in range(4) if channel not in silent]
            assert not found[..., silent].any()
            torch.testing.assert_close(found[..., kept], plain[..., kept], rtol=0, atol=0)
    logits = torch.randn(10, 5)
    real, imaginary = cases["real masks"][2](logits, "continuous")
    torch.testing.assert_close(real, phase_aware_mask(logits, "continuous")[0], rtol=0, atol=0)
    assert not imaginary.any()
