from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from truenet.rooms import CROSSFADE_SAMPLES, LEAD_SAMPLES, RESPONSE_SAMPLES, Rooms, align, split


def response(delay: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Silence, the direct path, then a tail that falls by 60 dB in 0.5 s."""
    tail = np.random.default_rng(seed).standard_normal(samples - delay).astype(np.float32)
    tail *= 0.1 * 10 ** (-3 * np.arange(samples - delay, dtype=np.float32) / 8_000)
    tail[0] = 0.9
    return np.concatenate([np.zeros(delay, np.float32), tail])


@pytest.mark.parametrize("delay", [0, 3, LEAD_SAMPLES, 500])
@pytest.mark.parametrize("samples", [600, RESPONSE_SAMPLES, 3 * RESPONSE_SAMPLES])
def test_direct_path_comes_to_its_place(delay: int, samples: int) -> None:
    aligned = align(response(delay, samples))
    assert aligned.shape == (RESPONSE_SAMPLES,)
    assert np.argmax(np.abs(aligned)) == LEAD_SAMPLES


def test_larger_reflection_is_not_the_direct_path() -> None:
    recorded = response(200, 4_000)
    recorded[260] = -1.5
    assert align(recorded)[LEAD_SAMPLES] == np.float32(0.9)


def test_silent_response_is_an_error() -> None:
    with pytest.raises(ValueError, match="silent"):
        align(np.zeros(100, np.float32))


@pytest.mark.parametrize("direct_ms", [2.5, 50.0, 300.0])
def test_direct_and_late_add_up_to_the_whole(direct_ms: float) -> None:
    responses = np.stack([align(response(100, 12_000, seed)) for seed in range(4)])
    direct, late = split(responses, direct_ms)
    scale = direct[:, LEAD_SAMPLES] / responses[:, LEAD_SAMPLES]
    np.testing.assert_allclose(direct + late, responses * scale[:, None], atol=1e-7)
    np.testing.assert_allclose((direct**2).sum(axis=1), 1, rtol=1e-5)
    cut = LEAD_SAMPLES + int(direct_ms * 16)
    assert not direct[:, cut + CROSSFADE_SAMPLES :].any()
    assert not late[:, : cut - CROSSFADE_SAMPLES].any()
    assert late[:, cut + CROSSFADE_SAMPLES :].any()


@pytest.mark.parametrize("direct_ms", [-1.0, 0.0, 1_500.0])
def test_cut_outside_of_the_response_is_an_error(direct_ms: float) -> None:
    with pytest.raises(ValueError, match="direct_ms is"):
        split(np.ones((1, RESPONSE_SAMPLES), np.float32), direct_ms)


def test_rooms_are_read_and_bad_ones_counted(tmp_path: Path) -> None:
    stereo = np.stack([response(50, 8_000), response(90, 8_000, 1)], axis=1)
    soundfile.write(tmp_path / "kitchen.wav", stereo, 16_000, "FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(1_000), 16_000)
    (tmp_path / "text.wav").write_text("text")
    rooms = Rooms.from_folders([tmp_path], 50.0)
    assert len(rooms) == 1
    assert rooms.skipped == (str(tmp_path / "silent.wav"), str(tmp_path / "text.wav"))
    whole = rooms.direct[0] + rooms.late[0]
    np.testing.assert_allclose(
        whole[LEAD_SAMPLES:4_000] / whole[LEAD_SAMPLES] * 0.9,
        stereo[50 : 50 + 4_000 - LEAD_SAMPLES, 0],
        atol=1e-6,
    )


def test_folder_without_a_usable_room_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(1_000), 16_000)
    with pytest.raises(ValueError, match=r"none of the 1 room responses.*silent.wav"):
        Rooms.from_folders([tmp_path], 50.0)


def test_simulated_rooms_follow_their_seed_and_reverberate() -> None:
    rooms, same, other = (Rooms.simulate(3, 50.0, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(rooms.direct, same.direct)
    np.testing.assert_array_equal(rooms.late, same.late)
    assert not np.array_equal(rooms.late, other.late)
    assert np.isfinite(rooms.late).all()
    assert ((rooms.late**2).sum(axis=1) > 1e-5).all()
