"""The queue regulator and the slip, each alone; together with two clocks in test_live_engine.py."""

import numpy as np
import pytest

from truenet_apps.live_drift import MOST_CORRECTION, STARTING_SECONDS, QueueRegulator, Slip


def observe(regulator: QueueRegulator, level_seconds: float, seconds: float) -> float:
    return sum(regulator.observe(level_seconds, 0.01) for _ in range(round(seconds / 0.01)))


def settled() -> QueueRegulator:
    regulator = QueueRegulator(0.02)
    observe(regulator, 0.02, STARTING_SECONDS + 0.5)
    return regulator


@pytest.mark.parametrize("level_seconds", [0.019, 0.02, 0.021])
def test_jitter_is_not_corrected(level_seconds: float) -> None:
    regulator = settled()
    assert observe(regulator, level_seconds, 60) == 0
    assert regulator.correction == 0


@pytest.mark.parametrize(("level_seconds", "sign"), [(0.025, 1), (0.012, -1)])
def test_slow_differences_change_the_rate_within_limits(level_seconds: float, sign: int) -> None:
    regulator = settled()
    assert observe(regulator, level_seconds, 60) == 0
    assert 0 < sign * regulator.correction <= MOST_CORRECTION


def test_sudden_excess_is_skipped_at_once() -> None:
    regulator = settled()
    assert observe(regulator, 0.1, 0.5) == pytest.approx(2 * 0.08)  # twice, as nobody skipped
    assert regulator.correction == 0


def test_a_slip_leaves_out_what_it_says_without_a_jump() -> None:
    slip = Slip(16_000)
    tone = np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000).astype(np.float32)
    slip.skip(480)  # three periods
    found = np.concatenate([slip.process(tone[i : i + 128]) for i in range(0, 16_000, 128)])
    assert len(found) == 16_000 - 480
    assert slip.skipped_samples == 480
    assert np.abs(np.diff(found)).max() < 1.1 * np.abs(np.diff(tone)).max()
    np.testing.assert_array_equal(Slip(16_000).process(tone), tone)
