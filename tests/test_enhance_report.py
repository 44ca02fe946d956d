"""What `enhance` tells: warnings for people, a summary for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from running import enhance

Noise = Callable[..., NDArray[np.float32]]

pytestmark = pytest.mark.usefixtures("working_folder")


def test_clipped_output_is_told(stand_in: Path) -> None:
    soundfile.write("a.wav", np.full(1000, 0.9), 16_000)
    options = ["--voice", "6", "--room", "6", "--noise", "6", "--model", stand_in]
    done = enhance("a.wav", *options, "--json")
    assert done.exit_code == 0
    assert "1000 samples are louder than full scale and were clipped" in done.stderr
    assert json.loads(done.stdout)["files"][0]["clipped_samples"] == 1000
    assert soundfile.read("a_enhanced.wav", dtype="int16")[0].min() == 32_767


def test_summary(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(8000, 2), 16_000)
    done = enhance("a.wav", "--room", "-inf", "--model", stand_in, "--json", "--quiet")
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert summary["model"] == {"name": "stand-in", "version": "0"}
    assert summary["faders_db"]["room"] == "-inf"
    (file,) = summary["files"]
    assert (file["seconds"], file["channels"], file["outputs"]) == (0.5, 2, ["a_enhanced.wav"])
    assert file["level_before_dbfs"] == pytest.approx(-20, abs=0.1)
    assert file["level_after_dbfs"] < file["level_before_dbfs"]
