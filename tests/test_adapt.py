"""`truenet adapt` from folders to files, and every bad input in one line."""

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from conftest import TINY
from typer.testing import CliRunner

from truenet.enhancer import Enhancer
from truenet.streaming import StreamingTRUNet
from truenet.validation import enhance
from truenet.weights import load_weights, save_weights
from truenet_apps.main import app
from truenet_apps.merge import merged

pytest.importorskip("truenet_data", reason="needs the data package: pip install ./data")

Adapted = tuple[Path, "subprocess.CompletedProcess[str]"]
QUICK = {
    "batch_crops": 2,
    "old_crops": 1,
    "watch_crops": 1,
    "watch_steps": 2,
    "strengths": [1.0],
    "report_mixtures": 2,
    "warmup_steps": 1,
    "precision": "float32",  # two runs are compared, and auto goes by a measured time
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


def options(place: Path, weights: Path, *more: object) -> list[str]:
    given = ["adapt", "--noise", place / "noise", "-o", place / "f.adapter", "--threads", 1]
    given += ["--config", place / "quick.json", "--weights", weights, "--steps", 4, *more]
    return [str(option) for option in given]


def adapt(place: Path, weights: Path, *more: object) -> Any:
    """In this process."""
    return CliRunner().invoke(app, options(place, weights, *more))


@pytest.fixture(scope="module")
def adapted(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """A place where it was done as users do, and what was said there."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "quick.json").write_text(json.dumps(QUICK))
    write_noise(folder / "noise", rate_hz=44_100)
    command = [sys.executable, "-m", "truenet_apps", *options(folder, weights, "--seed", 3)]
    return folder, subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_it_says_what_it_found_and_does(adapted: Adapted) -> None:
    folder, done = adapted
    assert done.returncode in (0, 3), done.stderr
    for words in (
        "4 noise recordings, 16 s, at 44100 Hz",
        "kB as an adapter",
        "step 4/4",
        "loss here",
    ):
        assert words in done.stderr
    assert not done.stdout
    report = json.loads((folder / "f.report.json").read_text())
    assert report["held_out"]["new"].startswith("1 noise recordings that were not trained on")
    assert report["success"] == (done.returncode == 0)
    assert report["success"] == (not report["problems"])
    assert [seen["step"] for seen in report["watched_loss"]] == [0, 2, 4]
    assert "strength 1, as given" in done.stderr
    assert report["adapter_bytes"] == (folder / "f.adapter").stat().st_size < 80_000
    assert set(report["new"]) == set(report["original"]) == {"pesq_wb", "stoi", "si_sdr_db"}
    for change in (*report["new"].values(), *report["original"].values()):
        assert change["change"] == pytest.approx(change["after"] - change["before"])
    assert not (folder / "f.adapter.run").exists()


def test_the_page_shows_everything_without_another_file(adapted: Adapted) -> None:
    pytest.importorskip("matplotlib")
    page = (adapted[0] / "f.report.html").read_text(encoding="utf-8")
    report = json.loads((adapted[0] / "f.report.json").read_text())
    change = report["new"]["si_sdr_db"]["change"]
    assert f"<b>{change:+.2f}</b>".replace("-", "−") in page
    assert ("No success" in page) is not report["success"]
    sources = re.findall(r'src="data:(\w+/\w+);base64,([^"]+)"', page)
    assert [kind for kind, _ in sources] == ["audio/flac"] * 4 + ["image/png"]
    assert page.count("src=") == len(sources)
    assert base64.b64decode(sources[-1][1]).startswith(b"\x89PNG")
    sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sources[0][1])))
    assert (len(sound), rate_hz) == (4 * RATE_HZ, RATE_HZ)


def test_adapter_and_base_equal_merged_equal_the_model_file(
    adapted: Adapted, weights: Path, tmp_path: Path
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


def test_two_processes_give_what_one_gave(adapted: Adapted, place: Path, weights: Path) -> None:
    shutil.rmtree(place / "noise")
    write_noise(place / "noise", rate_hz=44_100)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += ["-m", "truenet_apps", *options(place, weights, "--seed", 3, "--overwrite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stderr.count("step 4/4") == 1, done.stderr
    models = [merged(weights, folder / "f.adapter")[0] for folder in (adapted[0], place)]
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_what_exists_is_not_replaced_unasked(adapted: Adapted, weights: Path) -> None:
    folder, _ = adapted
    before = (folder / "f.adapter").read_bytes()
    done = adapt(folder, weights)
    assert done.exit_code == 1
    assert "exists; give --overwrite" in done.output
    assert (folder / "f.adapter").read_bytes() == before


def test_an_adapter_of_another_base_is_refused(adapted: Adapted, tmp_path: Path) -> None:
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
    ("more", "message"),
    [
        (("--method", "pacca"), "--method pacca: give one of paca"),
        (("--rank", 0), "rank is 0; give 1 or more"),
        (("--minutes", 1), "--steps and --minutes exclude each other"),
        (("--pairs", "a", "b"), "give --noise FOLDER, or --pairs"),
        (("--speech", "/nowhere"), "/nowhere is not a folder"),
        (("--unpaired", "/nowhere"), "/nowhere is not a folder"),
        (("-o", "f.safetensors"), "an adapter ends in .adapter"),
        (("-o", "/nowhere/f.adapter"), "there is no folder /nowhere"),
        (("--weights", "/nowhere/w.safetensors"), "no weights at /nowhere/w.safetensors"),
    ],
)
def test_mistakes(place: Path, weights: Path, more: tuple[object, ...], message: str) -> None:
    done = adapt(place, weights, *more)
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
    given = options(place, weights, "--pairs", place / "clean", place / "noisy")
    given += ["--unpaired", str(place / "noisy")]
    given.remove("--noise")
    given.remove(str(place / "noise"))
    done = CliRunner().invoke(app, given)
    assert done.exit_code in (0, 3), done.output
    assert "3 unpaired" in done.output
    assert "no clean voice to compare with" in done.output
    assert "3 pairs, 12 s" in done.output
    report = json.loads((place / "f.report.json").read_text())
    assert report["held_out"]["new"].startswith("1 pairs that were not trained on")
    assert report["unpaired"]["recordings"] == 3
    assert set(report["unpaired"]["after"]) == {"pauses_dbfs", "talk_dbfs", "snr_db"}


def test_killed_in_the_middle_and_started_again(
    adapted: Adapted, place: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command with the same recordings goes on and gives what the uninterrupted one gave."""
    from truenet_apps.adapt_run import Adaptation

    shutil.rmtree(place / "noise")
    write_noise(place / "noise", rate_hz=44_100)
    steps = Adaptation._steps

    def until_killed(self: Adaptation) -> Any:
        for progress in steps(self):
            yield progress
            if progress.step == 3:
                raise KeyboardInterrupt  # with the last checkpoint at step 2

    monkeypatch.setattr(Adaptation, "_steps", until_killed)
    assert adapt(place, weights, "--seed", 3).exit_code not in (0, 3)
    assert not (place / "f.adapter").exists()
    monkeypatch.setattr(Adaptation, "_steps", steps)
    refused = adapt(place, weights, "--seed", 4)
    assert refused.exit_code == 1
    assert "holds a run with other recordings or settings" in refused.output
    done = adapt(place, weights, "--seed", 3)
    assert "going on from step 2" in done.output
    expected = safetensors.torch.load_file(adapted[0] / "f.adapter")
    for name, value in safetensors.torch.load_file(place / "f.adapter").items():
        assert torch.equal(value, expected[name]), name


def test_the_strength_is_chosen_and_told_and_a_killed_choice_is_made_again(
    place: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "quick.json").write_text(json.dumps(QUICK | {"strengths": [0.5, 1.0]}))
    changes = [(0.0, 0.0), (0.1, -0.01), (0.2, -0.03)]  # here and elsewhere: before, half, all
    left: list[float] = []

    def scores(*_: object) -> Any:
        if not left:
            os.kill(os.getpid(), signal.SIGINT)
        return np.full(2, 1.5 + left.pop(0))

    monkeypatch.setattr("truenet_apps.adapt_strength._scores", scores)
    adapters = []
    for killed in (False, True):
        if killed:
            left[:] = sum(changes[:2], ())
            interrupted = adapt(place, weights, "--overwrite")
            assert interrupted.exit_code == 130
            assert "interrupted; what was learned is kept" in interrupted.output
        left[:] = sum(changes, ())
        done = adapt(place, weights)
        assert ("going on from step 4" in done.output) == killed, done.output
        assert not left, done.output
        assert "strength 0.5: the best here" in done.output
        adapters.append(safetensors.torch.load_file(place / "f.adapter"))
    assert all(torch.equal(value, adapters[1][name]) for name, value in adapters[0].items())
    report = json.loads((place / "f.report.json").read_text())
    assert report["strength"]["chosen"] == 0.5
    assert [trial["here"] for trial in report["strength"]["trials"]] == pytest.approx([0.1, 0.2])
    page = (place / "f.report.html").read_text(encoding="utf-8")
    assert "<td>0.5</td><td>+0.100</td><td>−0.010</td>" in page
    assert report["strength"]["words"] in page


@pytest.mark.parametrize("step", [2, 4])
def test_ctrl_c_keeps_the_best_so_far(place: Path, weights: Path, step: int) -> None:
    import truenet_apps.adapt as command

    told = command._Reporter.__call__

    def interrupting(self: Any, progress: Any) -> None:
        told(self, progress)
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command._Reporter, "__call__", interrupting)
        done = adapt(place, weights)
    assert done.exit_code == 130
    assert f"stopped at step {step}" in done.output
    assert "The same command (without --overwrite) goes on" in done.output
    assert (place / "f.adapter").exists()
    assert (place / "f.onnx").exists()
    again = adapt(place, weights)
    assert again.exit_code in (0, 3)
    assert f"going on from step {step}" in again.output
    assert (place / "f.report.json").exists()
