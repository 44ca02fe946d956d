"""Adapted weights through `truenet export --int8`: the same bounds as the shipped ones, from either kind of base."""

import os
from pathlib import Path

import pytest
import soundfile
import torch
from typer.testing import CliRunner

import partialgrad
from truenet.grids import GRIDS
from truenet.modelfile import SHIPPED_MODEL, ModelFile
from truenet.verification import CHECK_RECORDING, snr_db, voice_alone
from truenet.weights import load_weights
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_methods import rules
from truenet_apps.main import app

FLOAT, WHOLE = ".safetensors", ".int8.safetensors"
LARGEST_BYTES = 370_688


def run(*arguments: str | os.PathLike[str]) -> None:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def adapter(base: Path, path: Path) -> None:
    """What `truenet adapt` would write, with changes drawn at random."""
    model, _ = load_weights(base)
    partialgrad.wrap(model, rules(model, AdaptConfig()))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.03 * torch.randn_like(parameter))
    partialgrad.save_adapter(model, path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FLOAT, WHOLE])
def test_same_size_and_as_near_to_float(kind: str, tmp_path: Path) -> None:
    base = SHIPPED_MODEL.with_suffix(kind)
    paths = [tmp_path / name for name in ("a.adapter", "m.safetensors", "f.onnx", "i.onnx")]
    learned, merged, in_float, small = paths
    adapter(base, learned)
    run("merge", base, learned, "-o", merged)
    run("export", merged, "-o", in_float)
    run("export", merged, "-o", small, "--int8")
    assert small.stat().st_size <= LARGEST_BYTES
    noisy = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:, 0]
    unadapted, expected, found = (
        voice_alone(ModelFile(path), noisy) for path in (SHIPPED_MODEL, in_float, small)
    )
    assert snr_db(expected, found) >= 25
    assert snr_db(expected, unadapted) < snr_db(expected, found) - 6
    assert load_weights(merged)[1].get(GRIDS) == load_weights(base)[1].get(GRIDS)
