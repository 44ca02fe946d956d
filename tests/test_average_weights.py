"""The mean of weights is one, and only of weights that have one."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from truenet.config import TRUNetConfig
from truenet.streaming import StreamingTRUNet
from truenet.weights import load_weights, save_weights, weights_sha256

ROOT = Path(__file__).parents[1]
SMALL = TRUNetConfig(encoder_channels=(8,) * 6, decoder_channels=(8,) * 5)


@pytest.fixture
def average(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("average_weights")


def written(path: Path, seed: int, hours: str, config: TRUNetConfig = SMALL) -> Path:
    torch.manual_seed(seed)
    model = StreamingTRUNet(config)
    save_weights(model, path, {"hours_seen": hours, "commit": "c", "pesq_wb": "2.0"})
    return path


def run(average: Any, monkeypatch: pytest.MonkeyPatch, *arguments: Path | str) -> None:
    monkeypatch.setattr("sys.argv", ["average_weights.py", *map(str, arguments)])
    average.main()


def test_every_tensor_is_the_mean(
    average: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = [written(tmp_path / f"{seed}.safetensors", seed, str(seed)) for seed in (3, 9, 5)]
    run(average, monkeypatch, *files, "-o", tmp_path / "mean.safetensors")
    model, facts = load_weights(tmp_path / "mean.safetensors")
    states = [load_weights(file)[0].state_dict() for file in files]
    for name, value in model.state_dict().items():
        expected = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(value, expected.to(value.dtype))
    assert facts["hours_seen"] == "9"
    assert facts["mean_of"].split() == [weights_sha256(file)[:16] for file in files]
    assert "pesq_wb" not in facts


def test_what_has_no_mean_is_refused(
    average: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = written(tmp_path / "one.safetensors", 1, "1")
    wider = written(tmp_path / "wider.safetensors", 1, "1", TRUNetConfig())
    whole = ROOT / "truenet" / "models" / "truenet.int8.safetensors"
    target = tmp_path / "mean.safetensors"
    for others, problem in (
        ([], "two files"),
        ([wider], "another network"),
        ([whole], "whole numbers"),
    ):
        with pytest.raises(SystemExit, match=problem):
            run(average, monkeypatch, one, *others, "-o", target)
        assert not target.exists()
    target.write_bytes(b"precious")
    with pytest.raises(SystemExit, match="exists"):
        run(average, monkeypatch, one, one, "-o", target)
    assert target.read_bytes() == b"precious"
