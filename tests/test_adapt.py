"""`truenet adapt` from folders to files, and every bad input in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from truenet.config import TRUNetConfig
from truenet.enhancer import Enhancer
from truenet.streaming import StreamingTRUNet
from truenet.validation import enhance
from truenet.weights import load_weights, save_weights
from truenet_apps.main import app
from truenet_apps.merge import merged

torch = pytest.importorskip("torch")
pytest.importorskip("truenet_data", reason="needs the data package: pip install ./data")

TINY = TRUNetConfig(
    encoder_channels=(4, 8, 8, 8, 8, 8),
    frequency_gru_units=4,
    time_gru_units=8,
    bottleneck_channels=8,
    decoder_channels=(8, 8, 8, 8, 8),
)
QUICK = {
    "batch_crops": 2,
    "old_crops": 1,
    "watch_crops": 1,
    "watch_steps": 2,
    "report_mixtures": 2,
    "warmup_steps": 1,
}
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained base: what it takes for a voice means nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    save_weights(StreamingTRUNet(TINY).eval(), path, {"hours_seen": "1", "pesq_wb": "1.5"})
    return path


def write_noise(folder: Path, count: int = 4, seconds: float = 4, rate_hz: int = RATE_HZ) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        generator = np.random.default_rng(index)
        samples = generator.standard_normal(int(seconds * rate_hz)) * 0.02
        soundfile.write(folder / f"{index}.wav", samples, rate_hz)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "quick.json").write_text(json.dumps(QUICK))
    write_noise(tmp_path / "noise")
    return tmp_path


def adapt(place: Path, weights: Path, *more: object) -> Any:
    options = ["adapt", "--noise", place / "noise", "-o", place / "f.adapter", "--threads", 1]
    options += ["--config", place / "quick.json", "--weights", weights, "--steps", 4, *more]
    return CliRunner().invoke(app, [str(option) for option in options])


@pytest.fixture(scope="module")
def adapted(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A place and what was said there."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "quick.json").write_text(json.dumps(QUICK))
    write_noise(folder / "noise", rate_hz=44_100)
    return folder, adapt(folder, weights, "--seed", 3)


def test_it_says_what_it_found_and_does(adapted: tuple[Path, Any]) -> None:
    folder, done = adapted
    assert done.exit_code in (0, 3), done.output
    for words in ("4 noise recordings, 16 s, at 44100 Hz", "as an adapter", "step 4/4", "loss here"):
        assert words in done.output
    report = json.loads((folder / "f.report.json").read_text())
    assert report["held_out"]["new"].startswith("1 noise recordings that were not trained on")
    assert report["success"] == (done.exit_code == 0) == (not report["problems"])
    assert [seen["step"] for seen in report["watched_loss"]] == [0, 2, 4]
    assert report["adapter_bytes"] == (folder / "f.adapter").stat().st_size < 80_000
    assert set(report["new"]) == set(report["original"]) == {"pesq_wb", "stoi", "si_sdr_db"}
    for change in (*report["new"].values(), *report["original"].values()):
        assert change["change"] == pytest.approx(change["after"] - change["before"])
    assert not (folder / "f.adapter.run").exists()


def test_the_picture(adapted: tuple[Path, Any]) -> None:
    pytest.importorskip("matplotlib")
    assert (adapted[0] / "f.report.png").read_bytes().startswith(b"\x89PNG")


def test_adapter_and_base_equal_merged_equal_the_model_file(
    adapted: tuple[Path, Any], weights: Path, tmp_path: Path
) -> None:
    folder, _ = adapted
    shutil.copy(folder / "f.adapter", tmp_path / "f.adapter")
    out = tmp_path / "merged.safetensors"
    command = ["merge", str(weights), str(tmp_path / "f.adapter"), "-o", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    model, facts = load_weights(out)
    assert facts["adapted_to"] == "f"
    assert "pesq_wb" not in facts  # a score of the base
    by_hand, _ = merged(weights, folder / "f.adapter")
    for name, value in by_hand.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    samples = np.random.default_rng(5).standard_normal(RATE_HZ).astype(np.float32) * 0.1
    expected = enhance(model, torch.from_numpy(samples)).numpy()
    given = Enhancer(folder / "f.onnx", room_db=-np.inf, noise_db=-np.inf).enhance(samples, RATE_HZ)
    np.testing.assert_allclose(given, expected, atol=2e-5)


def test_what_exists_is_not_replaced_unasked(adapted: tuple[Path, Any], weights: Path) -> None:
    folder, _ = adapted
    before = (folder / "f.adapter").read_bytes()
    done = adapt(folder, weights)
    assert done.exit_code == 1
    assert "exists; give --overwrite" in done.output
    assert (folder / "f.adapter").read_bytes() == before


def test_an_adapter_of_another_base_is_refused(
    adapted: tuple[Path, Any], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    save_weights(StreamingTRUNet(TINY).eval(), tmp_path / "other.safetensors", {})
    command = ["merge", tmp_path / "other.safetensors", adapted[0] / "f.adapter"]
    command += ["-o", tmp_path / "out.safetensors"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 1
    assert "was trained on another base" in done.output
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: write_noise(folder, 1, 2.0), "holds 2.0 s of noise; give at least 10 s"),
        (lambda folder: folder.mkdir(), "holds no audio"),
        (lambda folder: None, "is not a folder"),
    ],
)
def test_too_little_noise(make: Any, message: str, tmp_path: Path, weights: Path) -> None:
    make(tmp_path / "noise")
    (tmp_path / "quick.json").write_text("{}")
    done = adapt(tmp_path, weights)
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"noise", "quick.json"}


def test_silence_only(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "quick.json").write_text("{}")
    soundfile.write(tmp_path / "noise" / "a.wav", np.zeros(20 * RATE_HZ), RATE_HZ)
    done = adapt(tmp_path, weights)
    assert done.exit_code == 1
    assert "holds only silence; is the microphone on" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "pacca"), "--method pacca: give one of paca"),
        (("--rank", 0), "rank is 0; give 1 or more"),
        (("--minutes", 1), "--steps and --minutes exclude each other"),
        (("--pairs", "a", "b"), "give --noise FOLDER, or --pairs"),
        (("--speech", "/nowhere"), "/nowhere is not a folder"),
        (("-o", "f.safetensors"), "an adapter ends in .adapter"),
        (("-o", "/nowhere/f.adapter"), "there is no folder /nowhere"),
        (("--weights", "/nowhere/w.safetensors"), "no weights at /nowhere/w.safetensors"),
    ],
)
def test_mistakes(place: Path, weights: Path, options: tuple[object, ...], message: str) -> None:
    done = adapt(place, weights, *options)
    assert done.exit_code == 1
    assert message in done.output
    assert not (place / "f.adapter").exists()


def test_pairs(place: Path, weights: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(3):
        voice = np.sin(np.arange(4 * RATE_HZ) / 20) * generator.uniform(0.1, 0.2)
        for kind, noise in (("clean", 0.0), ("noisy", 0.05)):
            (place / kind).mkdir(exist_ok=True)
            samples = voice + noise * generator.standard_normal(len(voice))
            soundfile.write(place / kind / f"{index}.wav", samples, RATE_HZ)
    options = ["adapt", "--pairs", place / "clean", place / "noisy", "-o", place / "f.adapter"]
    options += ["--config", place / "quick.json", "--weights", weights, "--steps", 2]
    done = CliRunner().invoke(app, list(map(str, options)))
    assert done.exit_code in (0, 3), done.output
    assert "3 pairs, 12 s" in done.output
    report = json.loads((place / "f.report.json").read_text())
    assert report["held_out"]["new"] == "1 pairs that were not trained on"
