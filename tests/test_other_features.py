"""A network with other inputs starts as what it was, as far as it sees the same."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from truenet.config import Feature, TRUNetConfig
from truenet.features import channels_of
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights, weights_sha256

ROOT = Path(__file__).parents[1]
SMALL = TRUNetConfig(encoder_channels=(8,) * 6, decoder_channels=(8,) * 5)
NEW: tuple[Feature, ...] = ("log_magnitude", "pcen", "phase_advance")


def convert(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script: Any = importlib.import_module("other_features")
    monkeypatch.setattr("sys.argv", ["other_features.py", *map(str, arguments)])
    script.main()


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = StreamingTRUNet(SMALL)
    save_weights(model, tmp_path / "start.safetensors", {"hours_seen": "5", "pesq_wb": "2.0"})
    return tmp_path / "start.safetensors"


def test_it_does_what_it_did_without_what_is_gone(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "other.safetensors"
    convert(monkeypatch, start, "-o", target, "--features", *NEW)
    before, _ = load_weights(start)
    after, facts = load_weights(target)
    assert after.config == dataclasses.replace(SMALL, features=NEW)
    with torch.no_grad():
        before.network.first.weight[:, 2:] = 0  # the demodulated phase
        audio, faders = 0.1 * torch.randn(1, 128 * 40), torch.tensor([[1.0, 0.0, 0.0]])
        expected, _ = before(audio, before.initial_state(1), faders)
        found, _ = after(audio, after.initial_state(1), faders)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert facts["made_from"] == weights_sha256(start)
    assert facts["hours_seen"] == "5"
    assert "pesq_wb" not in facts


def test_weights_go_with_their_feature(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "other.safetensors"
    features: tuple[Feature, ...] = ("phase_advance", "demodulated_phase", "pcen")
    convert(monkeypatch, start, "-o", target, "--features", *features)
    old = load_weights(start)[0].network.first.weight
    new = load_weights(target)[0].network.first.weight
    old_places = {channel: place for place, channel in enumerate(channels_of(SMALL.features))}
    for place, channel in enumerate(channels_of(features)):
        if channel[0] == "phase_advance":
            assert not new[:, place].any()
        else:
            assert torch.equal(new[:, place], old[:, old_places[channel]])
    with pytest.raises(SystemExit, match="exists; give another name"):
        convert(monkeypatch, start, "-o", target, "--features", *features)


def test_whole_numbers_and_no_weights_are_refused(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "other.safetensors"
    whole = ROOT / "truenet" / "models" / "truenet.int8.safetensors"
    with pytest.raises(SystemExit, match="give those it was made of"):
        convert(monkeypatch, whole, "-o", target, "--features", *NEW)
    with pytest.raises(SystemExit, match="no weights at"):
        convert(monkeypatch, tmp_path / "none", "-o", target, "--features", *NEW)
    assert not target.exists()
