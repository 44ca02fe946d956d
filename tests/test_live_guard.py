"""The way around the model: the input as late as the model, entered and left without a click."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import write_stand_in
from numpy.typing import NDArray

from truenet.enhancer import Enhancer
from truenet_apps.live_guard import FIRST_PAUSE_SECONDS, GuardedEnhancer

LATE = [False] * 50 + [True] * 12 + [False] * 400


def guarded(folder: Path, **levels_db: float) -> GuardedEnhancer:
    model = write_stand_in(folder / "model.onnx", shares=(0.5, 0.25, 0.25))
    return GuardedEnhancer(Enhancer(model, whole_frames=True, **levels_db))


def test_late_frames_pass_by_and_come_back(tmp_path: Path) -> None:
    guard = guarded(tmp_path, voice_db=-np.inf, room_db=-np.inf, noise_db=-np.inf)
    ones = np.ones(128, np.float32)
    pairs = []
    for late in LATE:
        pairs.append(guard.process(ones, late))
    before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert guard.overloads == 1
    pause = round(FIRST_PAUSE_SECONDS * 125) * 128
    assert np.count_nonzero(after == 1) in range(pause, pause + 5 * 128)
    assert np.abs(np.diff(after[512:])).max() < 0.01  # no click either way
    np.testing.assert_array_equal(before[384:], 1)
    np.testing.assert_allclose(after[-1000:], 0, atol=1e-6)


def test_with_faders_at_one_it_cannot_be_heard(
    tmp_path: Path, noise: Callable[..., NDArray[np.float32]]
) -> None:
    guard = guarded(tmp_path, voice_db=0, room_db=0, noise_db=0)
    audio = noise(128 * len(LATE))
    frames = zip(np.split(audio, len(LATE)), LATE, strict=True)
    after = np.concatenate([guard.process(frame, late)[1] for frame, late in frames])
    np.testing.assert_allclose(after[384:], audio[:-384], atol=1e-6)


def test_a_stall_that_is_caught_up_with_changes_nothing(tmp_path: Path) -> None:
    guard = guarded(tmp_path)
    for late in [True] * 8 + [False] + [True] * 8:
        guard.process(np.zeros(128, np.float32), late)
    assert not guard.overloads


def test_each_failure_waits_longer(tmp_path: Path) -> None:
    guard = guarded(tmp_path)
    frame, pauses = np.zeros(128, np.float32), [0]
    for _ in range(5000):
        guard.process(frame, late=False, hopeless=True)
        pauses[-1] += guard.bypassed
        if not guard.bypassed:
            pauses.append(0)
    lengths = [pause for pause in pauses if pause]
    assert lengths[:3] == [250, 500, 1000]
