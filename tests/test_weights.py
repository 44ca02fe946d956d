"""Weights come back as they were, and other files are refused with the reason."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from truenet.config import TRUNetConfig
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(
        StreamingTRUNet(TRUNetConfig(masks=1)), tmp_path / "w.safetensors", {"hours_seen": "3"}
    )
    return tmp_path / "w.safetensors"


def test_there_and_back(saved: Path) -> None:
    torch.manual_seed(0)
    expected = StreamingTRUNet(TRUNetConfig(masks=1)).state_dict()
    model, facts = load_weights(saved)
    assert model.config == TRUNetConfig(masks=1)
    assert facts["hours_seen"] == "3"
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_files_that_are_no_weights(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no weights at"):
        load_weights(tmp_path / "missing.safetensors")
    truncated = tmp_path / "short.safetensors"
    truncated.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"no readable \.safetensors"):
        load_weights(truncated)
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="holds no truenet weights"):
        load_weights(other)
