"""`truenet evaluate`: table, JSON, errors in one line."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from truenet import evaluation
from truenet.extras import how_to_install
from truenet.metrics import METRICS as METRICS_OF_ALL_KINDS
from truenet_apps.main import app

METRICS = "si_sdr_db,stoi,level_difference_db"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders clean, noisy and enhanced, with three pairs of one second each."""
    generator = np.random.default_rng(5)
    for name in ("clean", "noisy", "enhanced"):
        (tmp_path / name).mkdir()
    for index, snr in enumerate(("00", "10", "10")):
        clean = 0.05 * generator.standard_normal(16_000) * np.hanning(16_000)
        noise = 0.03 * generator.standard_normal(16_000)
        file = f"{index}_snr{snr}_dry.wav"
        soundfile.write(tmp_path / "clean" / file, clean, 16_000)
        soundfile.write(tmp_path / "noisy" / file, clean + noise, 16_000)
        soundfile.write(tmp_path / "enhanced" / file, clean + 0.2 * (index + 1) * noise, 16_000)
    return tmp_path


def run(folders: Path, *options: str) -> Result:
    pair = [str(folders / "clean"), str(folders / "noisy")]
    arguments = ["evaluate", *pair, "--metrics", METRICS, "--jobs", "1", *options]
    return CliRunner().invoke(app, arguments)


def test_the_table_says_what_the_json_says(folders: Path) -> None:
    file = folders / "report.json"
    result = run(folders, "--enhanced", str(folders / "enhanced"), "--json", str(file))
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    rows = [re.split(r"\s{2,}|\s(?=[-+\d])", line.strip()) for line in result.stdout.splitlines()]
    gains = [row for row in rows if row[0] == "gain"]
    assert len(gains) == len(report["groups"]) == 4
    for row, group in zip(gains, report["groups"], strict=True):
        expected = [group["scores"][metric]["gain"] for metric in METRICS.split(",")]
        assert [float(number) for number in row[1:]] == pytest.approx(expected, abs=0.006)
    for name in report["worst"]:
        assert name in result.stdout


def test_json_on_stdout_leaves_the_table_to_stderr(folders: Path) -> None:
    result = run(folders, "--enhanced", str(folders / "enhanced"), "--json", "-")
    report = json.loads(result.stdout)
    assert [file["name"] for file in report["files"]] == [
        "0_snr00_dry",
        "1_snr10_dry",
        "2_snr10_dry",
    ]
    assert report["settings"]["room_db"] == "-inf"
    assert "SI-SDR" in result.stderr


def test_all_metrics(folders: Path) -> None:
    options = ("--enhanced", str(folders / "enhanced"), "--limit", "1", "--json", "-")
    report = json.loads(run(folders, *options, "--metrics", "all").stdout)
    assert tuple(report["metrics"]) == METRICS_OF_ALL_KINDS
    assert set(report["files"][0]["enhanced"]) == set(METRICS_OF_ALL_KINDS)


def test_the_model_is_asked_for_the_voice_alone(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(settings: evaluation.ModelEnhance) -> evaluation.Enhance:
        asked.append(settings)
        return lambda samples, sample_rate_hz: samples

    monkeypatch.setattr(evaluation, "_opened", opened)
    assert run(folders, "--limit", "1").exit_code == 0
    assert run(folders, "--limit", "1", "--model", "m.onnx", "--room", "-6").exit_code == 0
    assert asked == [
        evaluation.ModelEnhance(None, 0.0, -np.inf, -np.inf),
        evaluation.ModelEnhance("m.onnx", 0.0, -6.0, -np.inf),
    ]


def test_what_has_no_score_is_named_below_the_table(folders: Path) -> None:
    soundfile.write(folders / "enhanced" / "1_snr10_dry.wav", np.zeros(16_000), 16_000)
    result = run(folders, "--enhanced", str(folders / "enhanced"))
    assert result.exit_code == 0
    assert "1_snr10_dry: enhanced: the estimate is silent" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--enhanced", "nowhere"], "nowhere is not a folder"),
        (["--enhanced", "nowhere", "--model", "m.onnx"], "give one of them"),
        (["--peer", "rnnoise", "--model", "m.onnx"], "give one of them"),
        (["--peer", "krisp"], "choose from noisereduce, webrtc, rnnoise"),
        (["--metrics", "pesq"], "unknown metric 'pesq'"),
        (["--json", "nowhere/report.json"], "there is no folder nowhere"),
    ],
)
def test_errors_are_one_line(folders: Path, options: list[str], message: str) -> None:
    enhanced = (
        [] if {"--enhanced", "--peer"} & {*options} else ["--enhanced", str(folders / "enhanced")]
    )
    result = run(folders, *enhanced, *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["pystoi", "scipy.stats"])
def test_a_missing_package_names_the_command(
    folders: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run(folders, "--enhanced", str(folders / "enhanced"))
    assert result.exit_code == 1
    assert module.removesuffix(".stats") in result.stderr
    assert f"is not installed; {how_to_install('train')}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_samples_score_as_recordings_do(tmp_path: Path) -> None:
    samples, file = Path(__file__).parents[1] / "samples", tmp_path / "report.json"
    pair = [str(samples / "clean"), str(samples)]
    arguments = ["evaluate", *pair, "--enhanced", pair[0], "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert [row["name"] for row in report["files"]] == ["cafe", "machine", "quiet", "room"]
    scores = report["groups"][0]["scores"]
    assert scores["pesq_wb"]["enhanced"] == pytest.approx(4.644, abs=1e-3)
    assert 1.0 < scores["pesq_wb"]["noisy"] < 1.5
    assert 0.7 < scores["stoi"]["noisy"] < 0.9
    assert scores["covl"]["enhanced"] == 5
