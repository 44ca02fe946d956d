"""Evaluation: how files pair, what a row holds, how rows are summed up."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from truenet import evaluation
from truenet.evaluation import Pair, Row, Samples
from truenet.metrics import NotScored

METRICS = ["si_sdr_db", "level_difference_db"]


def write(path: Path, samples: Samples, sample_rate_hz: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate_hz)
    return path


def tone(seconds: float = 0.5, sample_rate_hz: int = 16_000, frequency_hz: float = 440) -> Samples:
    time_s = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def noise(level: float, seconds: float = 0.5, sample_rate_hz: int = 16_000) -> Samples:
    generator = np.random.default_rng(3)
    return (level * generator.standard_normal(int(seconds * sample_rate_hz))).astype(np.float32)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four pairs, two SNRs and two kinds."""
    for name, level in (("a_snr00_dry", 0.2), ("b_snr00_rev", 0.2), ("c_snr10_dry", 0.07)):
        write(tmp_path / "clean" / f"{name}.wav", tone())
        write(tmp_path / "noisy" / f"{name}.flac", tone() + noise(level))
    write(tmp_path / "clean" / "deeper" / "d_snr10_rev.wav", tone())
    write(tmp_path / "noisy" / "deeper" / "d_snr10_rev.wav", tone() + noise(0.07))
    return tmp_path / "clean", tmp_path / "noisy"


def less_noise(samples: Samples, sample_rate_hz: int) -> Samples:
    clean = tone(samples.size / sample_rate_hz, sample_rate_hz)
    return clean + 0.1 * (samples - clean)


def row(name: str, noisy: float, enhanced: float) -> Row:
    return Row(Pair(name, Path(), Path()), 1.0, {"pesq_wb": noisy}, {"pesq_wb": enhanced})


@pytest.mark.parametrize(
    ("name", "snr_db", "kind"),
    [
        ("mix_02_snr05_dry", 5, "dry"),
        ("deeper/mix_02_snr-5_rev", -5, "rev"),
        ("x_SNR2.5", 2.5, None),
        ("p287_001", None, None),
        ("a_dryer_revised", None, None),
    ],
)
def test_names_tell_snr_and_kind(name: str, snr_db: float | None, kind: str | None) -> None:
    pair = Pair(name, Path(), Path())
    assert (pair.snr_db, pair.kind) == (snr_db, kind)


def test_files_pair_by_name_whatever_their_format(folders: tuple[Path, Path]) -> None:
    write(folders[0] / "alone.wav", tone())
    names = [pair.name for pair in evaluation.find_pairs(*folders)]
    assert names == ["a_snr00_dry", "b_snr00_rev", "c_snr10_dry", "deeper/d_snr10_rev"]


def break_rate(clean: Path, noisy: Path) -> None:
    write(noisy / "a_snr00_dry.flac", tone(0.25, 32_000), 32_000)


def break_length(clean: Path, noisy: Path) -> None:
    write(noisy / "a_snr00_dry.flac", tone(0.4))


def break_channels(clean: Path, noisy: Path) -> None:
    write(noisy / "a_snr00_dry.flac", np.stack([tone(), tone()], axis=1))


def break_contents(clean: Path, noisy: Path) -> None:
    (noisy / "a_snr00_dry.flac").write_text("not audio")


def break_names(clean: Path, noisy: Path) -> None:
    clean.rename(noisy / "moved")
    write(clean / "other.wav", tone())


def break_uniqueness(clean: Path, noisy: Path) -> None:
    write(noisy / "a_snr00_dry.wav", tone())


def break_audio(clean: Path, noisy: Path) -> None:
    clean.rename(noisy / "moved")
    clean.mkdir()


def break_folder(clean: Path, noisy: Path) -> None:
    clean.rename(noisy / "moved")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_rate, "32000 Hz, .* 16000 Hz: resample"),
        (break_length, "6400 samples, .* 8000: align and cut"),
        (break_channels, "2 channels"),
        (break_contents, "cannot be read as audio"),
        (break_names, "do not pair"),
        (break_uniqueness, "two files named a_snr00_dry"),
        (break_audio, "holds no audio"),
        (break_folder, "is not a folder"),
    ],
)
def test_folders_that_do_not_fit(
    folders: tuple[Path, Path], damage: Callable[[Path, Path], None], message: str
) -> None:
    damage(*folders)
    with pytest.raises(ValueError, match=message):
        evaluation.find_pairs(*folders)


def test_an_enhanced_folder_must_have_every_file(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    write(tmp_path / "mine" / "a_snr00_dry.wav", tone())
    with pytest.raises(ValueError, match="lacks 3 of 4 files: b_snr00_rev"):
        evaluation.find_pairs(*folders, tmp_path / "mine")


def test_rows_hold_the_noisy_and_the_enhanced_score(folders: tuple[Path, Path]) -> None:
    rows = list(evaluation.evaluate(evaluation.find_pairs(*folders), less_noise, METRICS))
    assert [row.pair.name[0] for row in rows] == ["a", "b", "c", "d"]
    for scored in rows:
        assert scored.seconds == 0.5
        assert scored.gain("si_sdr_db") == pytest.approx(20, abs=0.2)


def test_jobs_change_nothing(folders: tuple[Path, Path]) -> None:
    pairs = evaluation.find_pairs(*folders)
    alone = list(evaluation.evaluate(pairs, less_noise, METRICS, jobs=1))
    assert list(evaluation.evaluate(pairs, less_noise, METRICS, jobs=2)) == alone


def test_existing_files_are_scored_instead_of_enhancing(folders: tuple[Path, Path]) -> None:
    def never(samples: Samples, sample_rate_hz: int) -> Samples:
        raise AssertionError("nothing is to be enhanced")

    pairs = evaluation.find_pairs(*folders, folders[0])
    for scored in evaluation.evaluate(pairs, never, METRICS):
        assert scored.enhanced["si_sdr_db"] == math.inf
        assert scored.reasons == ["enhanced: si_sdr_db is infinite"]


def test_other_rates_are_enhanced_as_they_are_and_scored_at_16_khz(tmp_path: Path) -> None:
    rates_hz = []

    def remember(samples: Samples, sample_rate_hz: int) -> Samples:
        rates_hz.append((samples.size, sample_rate_hz))
        return samples

    # Above 8 kHz a score does not hear: a tone at 12 kHz must not cost SI-SDR.
    clean = tone(1, 48_000)
    write(tmp_path / "clean" / "a.wav", clean, 48_000)
    noisy = clean + tone(1, 48_000, 12_000) + 0.1 * noise(0.1, 1, 48_000)
    write(tmp_path / "noisy" / "a.wav", noisy, 48_000)
    pairs = evaluation.find_pairs(tmp_path / "clean", tmp_path / "noisy")
    (scored,) = evaluation.evaluate(pairs, remember, METRICS)
    assert rates_hz == [(48_000, 48_000)]
    assert scored.noisy["si_sdr_db"] > 20


def test_a_silent_file_is_a_row_that_says_so(folders: tuple[Path, Path]) -> None:
    write(folders[0] / "a_snr00_dry.wav", 0 * tone())
    rows = list(evaluation.evaluate(evaluation.find_pairs(*folders), less_noise, ["pesq_wb"]))
    assert rows[0].reasons == [f"{who}: the clean file is silent" for who in ("noisy", "enhanced")]
    summary = evaluation.summarize([rows[0], row("x", 1.5, 2.0)], "pesq_wb")
    assert (summary.pairs, summary.gain) == (1, 0.5)


def test_the_mean_gain_and_its_interval() -> None:
    rows = [row(str(i), 1.0, 1.0 + gain) for i, gain in enumerate((0.1, 0.2, 0.3, 0.6))]
    summary = evaluation.summarize(rows, "pesq_wb")
    assert (summary.noisy, summary.enhanced) == pytest.approx((1.0, 1.3))
    # By hand: standard deviation 0.21602, t(3, 0.975) = 3.18245.
    assert (summary.low, summary.high) == pytest.approx((0.3 - 0.34374, 0.3 + 0.34374), abs=1e-5)


def test_the_interval_holds_the_true_gain_in_95_of_100_cases() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        gains = generator.normal(0.3, 0.2, 8)
        summary = evaluation.summarize([row("x", 1, 1 + gain) for gain in gains], "pesq_wb")
        hits += summary.low < 0.3 < summary.high
    assert 0.92 < hits / 400 < 0.98


@pytest.mark.parametrize("scores", [[], [(1.0, 2.0)], [(1.0, NotScored("too short"))]])
def test_too_few_pairs_have_no_interval(scores: list[tuple[float, float]]) -> None:
    summary = evaluation.summarize([row("x", *pair) for pair in scores], "pesq_wb")
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)


def test_groups_are_every_snr_and_every_kind() -> None:
    names = ["a_snr10_dry", "b_snr05_rev", "c_snr05_dry", "d"]
    found = evaluation.groups([row(name, 1, 2) for name in names])
    members = {label: "".join(row.pair.name[0] for row in rows) for label, rows in found.items()}
    assert members == {"all": "abcd", "5 dB": "bc", "10 dB": "a", "dry": "ac", "rev": "b"}


def test_the_worst_gain_least() -> None:
    gains = [0.5, -0.2, 0.1, math.nan, 0.3, 0.0, 0.2, 0.4]
    rows = [row(str(index), 1, 1 + gain) for index, gain in enumerate(gains)]
    assert [row.pair.name for row in evaluation.worst(rows, "pesq_wb")] == ["1", "5", "2", "6", "4"]


def test_the_report_is_json_without_nan() -> None:
    rows = [row("a_snr05_dry", 1, 1.5), row("b_snr05_rev", 1, NotScored("too short"))]
    report = evaluation.report(rows, ["pesq_wb"])
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["files"][1]["enhanced"] == {"pesq_wb": None}
    assert report["files"][1]["reasons"] == ["enhanced: too short"]
    assert report["groups"][0]["scores"]["pesq_wb"]["gain"] == 0.5
    assert report["worst"] == ["a_snr05_dry"]
