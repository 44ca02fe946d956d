"""Bad input: one line that tells the fix, a non-zero exit, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from running import enhance, files

Noise = Callable[..., NDArray[np.float32]]

pytestmark = pytest.mark.usefixtures("working_folder")


def write_bad_input(name: str, noise: Noise) -> None:
    """Make the file that a case of `test_bad_input` needs."""
    audio = noise(20_000)
    match name:
        case "text.wav":
            Path(name).write_text("These are words.\n" * 100)
        case "empty.wav":
            soundfile.write(name, np.zeros(0), 16_000)
        case "nothing.wav":
            Path(name).write_bytes(b"")
        case "nan.wav" | "inf.wav":
            audio[12_345] = np.nan if name == "nan.wav" else -np.inf
            soundfile.write(name, audio, 16_000, "FLOAT")
        case "cut.wav" | "cut.flac":
            soundfile.write(name, audio, 16_000)
            Path(name).write_bytes(Path(name).read_bytes()[:20_000])
        case "slow.wav" | "fast.wav":
            soundfile.write(name, audio, 1 if name == "slow.wav" else 2**31 - 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.wav", "there is no such file"),
        ("text.wav", "not an audio file"),
        ("empty.wav", "holds no samples"),
        ("nothing.wav", "an empty file"),
        (
            "nan.wav",
            "sample 12345 of channel 1 is NaN, infinite or no audio; --replace-bad-samples",
        ),
        ("inf.wav", "sample 12345 of channel 1"),
        ("cut.wav", "cut off or damaged after 0.62 s of 1.25 s"),
        ("cut.flac", "cut off or damaged after"),
        ("slow.wav", "a sample rate of 1 Hz: possible are"),
        ("fast.wav", "a sample rate of 2147483647 Hz: possible are"),
        ("*.xyz", "no file matches this pattern"),
    ],
)
def test_bad_input(stand_in: Path, noise: Noise, name: str, message: str) -> None:
    write_bad_input(name, noise)
    before = files()
    done = enhance(name, "--model", stand_in, "-o", "out/")
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"enhance: {name}: {message}")
    assert line.count(name) <= 2
    assert files() == before
    assert not Path("out").exists()


def test_bad_samples_can_be_replaced(stand_in: Path, noise: Noise) -> None:
    write_bad_input("nan.wav", noise)
    done = enhance("nan.wav", "--model", stand_in, "--replace-bad-samples")
    assert done.exit_code == 0
    assert "1 samples were no numbers" in done.stderr
    assert np.all(np.isfinite(soundfile.read("nan_enhanced.wav")[0]))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--noise", "nan"], 2, "noise fader at nan dB: give a level from -inf to 40 dB"),
        (["--voice", "50"], 2, "voice fader at 50.0 dB"),
        (["-o", "b.xyz"], 2, "cannot write .xyz files; use one of .wav"),
        (["--format", "docx"], 2, "cannot write .docx files"),
        (["--subtype", "PCM_17"], 2, "unknown sample type 'PCM_17'; use one of"),
        (["--subtype", "float", "--format", "flac"], 1, "a.wav: sample type FLOAT is not for FLAC"),
        (["-o", "a.wav"], 1, "a.wav: the output a.wav is an input"),
        (["-o", "a.wav/b.wav"], 1, "a.wav: a.wav/b.wav: cannot be written"),
        (["-o", "-", "--json"], 2, "standard output cannot be audio and --json"),
        (["-o", "-", "--stems"], 2, "--stems and --plot write files"),
        (
            ["--overwrite", "--skip-existing"],
            2,
            "--overwrite and --skip-existing exclude each other",
        ),
        (["--model", "a.wav"], 1, "a.wav: onnxruntime"),
        (["--model", "none.onnx"], 1, "none.onnx: there is no such model file"),
    ],
)
def test_options_that_cannot_be(noise: Noise, options: list[str], code: int, message: str) -> None:
    soundfile.write("a.wav", noise(100), 16_000)
    done = enhance("a.wav", *options)
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"enhance: {message}")
    assert files() == ["a.wav"]
