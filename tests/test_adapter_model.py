"""`enhance --adapter`: the merged model, made once and kept; and words where it cannot be made."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY
from running import enhance

from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights
from truenet_apps import adapter_model
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_methods import start, write_adapter
from truenet_apps.merge import merged
from truenet_export.model_file import export


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny base in place of the shipped one, an adapter of it, a cache of its own and something to enhance."""
    torch.manual_seed(0)
    save_weights(StreamingTRUNet(TINY).eval(), tmp_path / "base.safetensors", {})
    monkeypatch.setattr(adapter_model, "SHIPPED_WEIGHTS", tmp_path / "base.safetensors")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_adapter(trained(tmp_path / "base.safetensors"), tmp_path / "a.adapter", {})
    samples = np.random.default_rng(0).standard_normal(16_000) * 0.1
    soundfile.write(tmp_path / "in.wav", samples, 16_000)
    return tmp_path


def trained(weights: Path):  # type: ignore[no-untyped-def]
    model, _ = load_weights(weights)
    training = start(model, AdaptConfig(rank=2))
    generator = torch.Generator().manual_seed(1)
    training.resume(
        {
            name: value + 0.3 * torch.randn(value.shape, generator=generator)
            for name, value in training.parameters.items()
        },
        0,
    )
    return training


def kept(place: Path) -> list[Path]:
    return sorted((place / "cache" / "truenet").glob("*"))


def test_it_equals_the_merged_and_exported_model(place: Path) -> None:
    model, facts = merged(place / "base.safetensors", place / "a.adapter")
    save_weights(model, place / "merged.safetensors", facts)
    export(place / "merged.safetensors", place / "merged.onnx")
    export(place / "base.safetensors", place / "base.onnx")
    for name, more in (
        ("adapter", ["--adapter", "a.adapter"]),
        ("model", ["--model", "merged.onnx"]),
        ("base", ["--model", "base.onnx"]),
    ):
        done = enhance("in.wav", "-o", f"{name}.wav", *more)
        assert done.exit_code == 0, done.output
    found, expected, before = (
        soundfile.read(f"{n}.wav", dtype="int16")[0] for n in ("adapter", "model", "base")
    )
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found.astype(int) - before).max() > 100


def test_it_is_made_once_and_needs_no_training_extra_then(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enhance("in.wav", "--adapter", "a.adapter").exit_code == 0
    (made,) = kept(place)
    without_training_extra(monkeypatch)
    assert enhance("in.wav", "--adapter", "a.adapter", "--overwrite").exit_code == 0
    assert kept(place) == [made]
    (place / "a.adapter").write_bytes((place / "a.adapter").read_bytes()[:-1])
    assert enhance("in.wav", "--adapter", "a.adapter", "--overwrite").exit_code == 1


def test_without_the_training_extra_it_says_how(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_training_extra(monkeypatch)
    done = enhance("in.wav", "--adapter", "a.adapter")
    assert done.exit_code == 1
    for words in (
        "safetensors is needed",
        "pip install ./finetune ./data '.[train]'",
        "--model a.onnx",
    ):
        assert words in done.output
    assert not kept(place)


def without_training_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "truenet.weights")
    monkeypatch.setitem(sys.modules, "safetensors", None)


def test_an_adapter_of_another_base(place: Path) -> None:
    torch.manual_seed(1)
    save_weights(StreamingTRUNet(TINY).eval(), place / "base.safetensors", {})
    done = enhance("in.wav", "--adapter", "a.adapter")
    assert done.exit_code == 1
    assert "was trained on another base" in done.output
    assert not kept(place)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--adapter", "none.adapter"], "none.adapter cannot be read"),
        (["--adapter", "in.wav"], "in.wav is no adapter"),
        (["--adapter", "a.adapter", "--model", "b.onnx"], "exclude each other"),
    ],
)
def test_mistakes(place: Path, more: list[str], message: str) -> None:
    done = enhance("in.wav", *more)
    assert done.exit_code != 0
    assert message in done.output
    assert len(done.output.splitlines()) == 1


def test_a_cache_that_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "file"))
    done = enhance("in.wav", "--adapter", "a.adapter")
    assert done.exit_code == 1
    assert "set XDG_CACHE_HOME to a folder that can be written" in done.output


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_are_as_readable_as_others(place: Path) -> None:
    """Other programs may read what other files let them read."""
    usual = (place / "in.wav").stat().st_mode
    for name in ("a.adapter", "base.safetensors"):
        assert (place / name).stat().st_mode == usual, name
