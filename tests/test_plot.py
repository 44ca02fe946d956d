"""The picture of before and after."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")

from truenet_apps.plot import Panel, write_plot
from truenet_apps.spectrogram import Spectrogram

Noise = Callable[..., NDArray[np.float32]]


@pytest.fixture
def panels(noise: Noise) -> list[Panel]:
    found = []
    for gain in (1.0, 0.0):
        spectrogram = Spectrogram(16_000)
        spectrogram.add(np.float32(gain) * noise(32_000, 1))
        found.append(Panel("a.wav", spectrogram, -20.0 if gain else -np.inf, None))
    return found


def test_a_picture_is_written_whole(tmp_path: Path, panels: list[Panel]) -> None:
    write_plot(tmp_path / "a.png", panels)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path, panels: list[Panel]) -> None:
    with pytest.raises(ValueError, match=r"a.png: cannot be written"):
        write_plot(tmp_path / "missing" / "a.png", panels)


@pytest.mark.parametrize(
    ("level_dbfs", "snr_db", "words"),
    [
        (-20.04, 7.6, "−20.0 dBFS    SNR ≈ 8 dB"),
        (-3.0, None, "−3.0 dBFS"),
        (-np.inf, None, "silence"),
    ],
)
def test_figures(level_dbfs: float, snr_db: float | None, words: str) -> None:
    assert Panel("a.wav", Spectrogram(16_000), level_dbfs, snr_db).figures == words
