"""Metrics: what they say of equal, louder, noisier and unusable signals."""

import pickle
import sys

import numpy as np
import pytest

from truenet import composite, metrics
from truenet.metrics import NotScored, Samples

BOUNDED = [metrics.pesq_wb, metrics.pesq_nb, metrics.stoi, metrics.estoi]
EVERY = [*BOUNDED, metrics.si_sdr_db, metrics.level_difference_db]


def made_speech(seconds: float = 2.0, seed: int = 0) -> Samples:
    """Harmonics of a gliding pitch in syllables of 0.25 s, over a little breath."""
    time_s = np.arange(int(seconds * metrics.SAMPLE_RATE_HZ)) / metrics.SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(3 * time_s)) / metrics.SAMPLE_RATE_HZ
    generator = np.random.default_rng(seed)
    voice = sum(np.sin(k * phase + generator.uniform(0, 6)) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 2 * time_s), 0, None)
    return np.asarray(0.1 * voice * syllables + 1e-3 * generator.standard_normal(time_s.size))


def noisy(clean: Samples, snr_db: float) -> Samples:
    noise = np.random.default_rng(1).standard_normal(clean.size)
    gain = np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return clean + gain * noise


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        (metrics.pesq_wb, 4.644),
        (metrics.pesq_nb, 4.549),
        (metrics.stoi, 1.0),
        (metrics.estoi, 1.0),
        (metrics.level_difference_db, 0.0),
    ],
)
def test_a_signal_equals_itself(metric: metrics.Metric, best: float) -> None:
    assert metric(made_speech(), made_speech()) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("metric", [*BOUNDED, metrics.si_sdr_db])
def test_less_noise_scores_higher(metric: metrics.Metric) -> None:
    clean = made_speech()
    scores = [metric(clean, noisy(clean, snr_db)) for snr_db in (0, 10, 20, 30)]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.05


@pytest.mark.parametrize("snr_db", [-5, 0, 20])
def test_si_sdr_is_the_snr_of_independent_noise(snr_db: float) -> None:
    clean = made_speech(8)
    assert metrics.si_sdr_db(clean, noisy(clean, snr_db)) == pytest.approx(snr_db, abs=0.2)


@pytest.mark.parametrize("gain", [1, -0.3, 7])
def test_si_sdr_of_a_scaled_copy_is_infinite(gain: float) -> None:
    assert metrics.si_sdr_db(made_speech(), gain * made_speech()) == np.inf


def test_si_sdr_of_what_holds_nothing_of_the_voice_is_very_low() -> None:
    time_s = np.arange(16_000) / 16_000
    assert (
        metrics.si_sdr_db(np.sin(2 * np.pi * 50 * time_s), np.sin(2 * np.pi * 60 * time_s)) < -100
    )


@pytest.mark.parametrize(("gain", "offset"), [(1e-3, 0), (-1, 0), (1, 0.3), (20, -0.1)])
def test_si_sdr_ignores_gain_sign_and_offset(gain: float, offset: float) -> None:
    clean = made_speech()
    estimate = noisy(clean, 7)
    expected = metrics.si_sdr_db(clean, estimate)
    assert metrics.si_sdr_db(clean, gain * estimate + offset) == pytest.approx(expected, abs=1e-6)


def test_level_difference_is_the_gain() -> None:
    clean = made_speech()
    assert metrics.level_difference_db(clean, 0.5 * clean) == pytest.approx(-6.0206, abs=1e-4)


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize(
    ("clean", "estimate", "reason"),
    [
        (np.zeros(16_000), made_speech(1), "clean file is silent"),
        (made_speech(1), np.full(16_000, 0.1), "estimate is silent"),
        (made_speech(1), np.where(np.arange(16_000) < 3, np.nan, 0.1), "estimate has 3 samples"),
        (np.zeros(0), np.zeros(0), "empty"),
    ],
)
def test_what_cannot_be_scored_says_why(
    metric: metrics.Metric, clean: Samples, estimate: Samples, reason: str
) -> None:
    score = metric(clean, estimate)
    assert np.isnan(score)
    assert isinstance(score, NotScored)
    assert reason in score.reason


@pytest.mark.parametrize("metric", BOUNDED)
@pytest.mark.parametrize("samples", [2, 100, 3_999, 4_001])
def test_too_short_is_a_reason(metric: metrics.Metric, samples: int) -> None:
    clean = made_speech()[2_000 : 2_000 + samples]
    score = metric(clean, noisy(clean, 10))
    assert isinstance(score, NotScored)
    assert score.reason


@pytest.mark.parametrize("shapes", [((100,), (101,)), ((100, 2), (100, 2))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="one dimension and equal length"):
        metrics.si_sdr_db(np.ones(shapes[0]), np.ones(shapes[1]))


def test_the_reason_survives_the_way_between_processes() -> None:
    assert pickle.loads(pickle.dumps(NotScored("the clean file is silent"))).reason.endswith(
        "silent"
    )


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(ImportError, match=r"pip install .*'\.\[train\]'"):
        metrics.pesq_wb(made_speech(), made_speech())


def test_pesq_of_more_than_fifty_utterances() -> None:
    generator = np.random.default_rng(0)
    bursts = np.arange(30 * metrics.SAMPLE_RATE_HZ) % 6_720 < 3_360  # 0.21 s on, 0.21 s off
    clean = 0.1 * generator.standard_normal(bursts.size) * bursts
    score = metrics.pesq_wb(clean, clean + 0.01 * generator.standard_normal(bursts.size))
    assert 1 < score < 3


def test_pesq_of_a_long_file_is_the_mean_of_its_pieces_that_hold_speech() -> None:
    clean = made_speech(40)
    clean[20 * metrics.SAMPLE_RATE_HZ :] = 0
    estimate = noisy(clean, 10)
    first = slice(0, 20 * metrics.SAMPLE_RATE_HZ)
    assert metrics.pesq_wb(clean, estimate) == metrics.pesq_wb(clean[first], estimate[first])


def test_ratings_of_a_signal_and_itself_are_the_best() -> None:
    assert metrics.ratings(made_speech(), made_speech()) == (5, 5, 5)


def test_ratings_of_the_example_that_the_authors_publish() -> None:
    rated = composite.ratings(2.255732, 0.681368, 49.671978, 3.991727)
    assert rated == pytest.approx((3.3050, 2.6160, 2.7133), abs=5e-5)


@pytest.mark.parametrize("field", metrics.Ratings._fields)
def test_ratings_rise_with_the_snr(field: str) -> None:
    clean = made_speech()
    rated = [metrics.ratings(clean, noisy(clean, snr_db)) for snr_db in (0, 10, 20, 30)]
    scores = [getattr(rating, field) for rating in rated]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.3


def test_ratings_need_a_pesq() -> None:
    rated = metrics.ratings(np.zeros(16_000), made_speech(1))
    assert all(isinstance(rating, NotScored) for rating in rated)


@pytest.mark.parametrize("estimate", [np.zeros(16_000), np.full(16_000, 0.1), np.eye(1, 16_000)[0]])
def test_parts_of_the_ratings_are_finite_for_odd_signals(estimate: Samples) -> None:
    clean = made_speech(1)
    for pair in ((clean, estimate), (estimate, clean)):
        assert np.isfinite(composite.log_likelihood_ratio(*pair))
        assert np.isfinite(composite.weighted_spectral_slope(*pair))
        assert np.isfinite(composite.segmental_snr(*pair))


def test_llr_ignores_the_level_and_wss_too() -> None:
    clean = made_speech()
    estimate = noisy(clean, 15)
    for part in (composite.log_likelihood_ratio, composite.weighted_spectral_slope):
        assert part(clean, 0.5 * estimate) == pytest.approx(part(clean, estimate), rel=1e-6)


def test_spectral_slopes_climb_to_the_nearest_peak() -> None:
    levels_db = np.array([[0.0, 5, 9, 4, 2, 3, 7]])
    peaks = composite._nearest_peaks(levels_db)
    # Upwards: the band before the peak (5 before 9, 3 before 7); downwards: the peak itself.
    assert peaks.tolist() == [[5, 5, 9, 9, 3, 3]]


def test_measure_gives_what_was_asked_for_in_that_order() -> None:
    clean = made_speech()
    estimate = noisy(clean, 10)
    scores = metrics.measure(clean, estimate, ["covl", "si_sdr_db", "pesq_wb"])
    assert list(scores) == ["covl", "si_sdr_db", "pesq_wb"]
    assert scores["covl"] == metrics.ratings(clean, estimate).covl
    assert scores["pesq_wb"] == metrics.pesq_wb(clean, estimate)


def test_measure_knows_its_metrics() -> None:
    with pytest.raises(ValueError, match="unknown metric 'pesq': choose from pesq_wb,"):
        metrics.measure(made_speech(), made_speech(), ["pesq"])
