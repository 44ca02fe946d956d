"""Keys, and what they do to the faders."""

import math
from pathlib import Path

import pytest

from truenet.enhancer import Enhancer
from truenet_apps.live_controls import Controls


@pytest.fixture
def enhancer(stand_in: Path) -> Enhancer:
    return Enhancer(stand_in, voice_db=0, room_db=-15, noise_db=-58)


@pytest.mark.parametrize(
    ("keys", "levels_db"),
    [
        ("v", (-3, -15, -58)),
        ("VVVVVV", (12, -15, -58)),
        ("rrR", (0, -18, -58)),
        ("n", (0, -15, -math.inf)),
        ("nN", (0, -15, -60)),
        ("b", (0, 0, 0)),
        ("bvb", (-3, -15, -58)),
        ("x?", (0, -15, -58)),
    ],
)
def test_keys_move_the_faders(
    enhancer: Enhancer, keys: str, levels_db: tuple[float, float, float]
) -> None:
    controls = Controls(enhancer)
    assert all(controls.press(key) for key in keys)
    assert (enhancer.voice_db, enhancer.room_db, enhancer.noise_db) == levels_db


@pytest.mark.parametrize("key", ["q", "\x1b"])
def test_quit(enhancer: Enhancer, key: str) -> None:
    assert not Controls(enhancer).press(key)
