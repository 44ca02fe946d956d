"""`truenet adapt` of a base of whole numbers, and `--export`: what is measured is what will run."""

import json
from pathlib import Path

import pytest
import torch
from test_adapt import options, write_noise
from test_checkpoint import SMALL, any_errors, any_widths
from typer.testing import CliRunner

from truenet.grids import GRIDS, Grids
from truenet.modelfile import ModelFile
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_methods import start
from truenet_apps.main import app
from truenet_apps.merge import merged
from truenet_export import int8
from truenet_export.checkpoint import write_checkpoint
from truenet_export.int8 import export_int8

pytest.importorskip("truenet_data", reason="needs the data package: pip install ./data")

QUICK = {
    "batch_crops": 1,
    "old_crops": 0,
    "watch_crops": 1,
    "watch_steps": 2,
    "strengths": [0.5],  # whole steps of it
    "report_mixtures": 2,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with noise, weights in float and in whole numbers; widths are given, which takes no scan."""
    monkeypatch.setattr(int8, "scan", any_errors)
    monkeypatch.setattr(int8, "fit", any_widths)
    torch.manual_seed(0)
    save_weights(StreamingTRUNet(SMALL).eval(), tmp_path / "w.safetensors", {})
    quantized = export_int8(tmp_path / "w.safetensors", tmp_path / "w.onnx")
    write_checkpoint(tmp_path / "w.safetensors", quantized.rounding, tmp_path / "i.safetensors")
    fast = {"learning_rate": 0.02, "warmup_steps": 1, "ema_decay": 0.0, "precision": "float32"}
    (tmp_path / "quick.json").write_text(json.dumps(QUICK | fast))
    write_noise(tmp_path / "noise")
    return tmp_path


def test_whole_numbers_stay_whole_and_the_file_as_large(place: Path) -> None:
    base = place / "i.safetensors"
    done = CliRunner().invoke(app, options(place, base))
    assert done.exit_code in (0, 3), done.output
    assert "numbers that stay whole" in done.output
    adapted, facts = merged(base, place / "f.adapter")
    model, before = load_weights(base)
    assert facts[GRIDS] == before[GRIDS]
    moved = 0.0
    for name, grid in Grids.from_text(facts[GRIDS]).weights.items():
        old, new = model.get_parameter(name), adapted.get_parameter(name)
        steps = (new - old).detach() / grid.scales
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        moved += float(steps.round().abs().sum())
    assert moved > 0
    small = ModelFile(place / "f.onnx")
    assert small.metadata["precision"] == "int8"
    assert (place / "f.onnx").stat().st_size == pytest.approx(
        (place / "w.onnx").stat().st_size, abs=500
    )


def test_training_sees_the_rounded_weights(place: Path) -> None:
    model, facts = load_weights(place / "i.safetensors")
    grids = Grids.from_text(facts[GRIDS])
    training = start(model, AdaptConfig(), grids)
    training.resume({n: p + 0.01 for n, p in training.parameters.items()}, 0)
    for name, grid in grids.weights.items():
        weight = model.get_parameter(name)
        assert torch.equal(grid.values(grid.codes(weight)), weight), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_methods_that_cannot(method: str, place: Path) -> None:
    done = CliRunner().invoke(app, options(place, place / "i.safetensors", "--method", method))
    assert done.exit_code == 1
    assert f"--method {method} cannot train weights of whole numbers" in done.output


def test_export_writes_and_scores_the_small_model(place: Path) -> None:
    done = CliRunner().invoke(app, options(place, place / "w.safetensors", "--export"))
    assert done.exit_code in (0, 3), done.output
    assert ModelFile(place / "f.int8.onnx").metadata["precision"] == "int8"
    assert ModelFile(place / "f.onnx").metadata["precision"] == "float32"
    report = json.loads((place / "f.report.json").read_text())
    assert report["int8"]["pesq_wb"]["mixtures"] == 2
    again = CliRunner().invoke(app, options(place, place / "w.safetensors", "--export"))
    assert again.exit_code == 1
    assert "exists; give --overwrite" in again.output
