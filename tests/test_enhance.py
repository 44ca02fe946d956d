"""The `enhance` command from end to end: what must simply work, and words about what cannot."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import STAND_IN_SHARES
from numpy.typing import NDArray
from running import COMMAND, ENVIRONMENT, enhance, files, start

Noise = Callable[..., NDArray[np.float32]]
UNITY = ["--voice", "0", "--room", "0", "--noise", "0"]


pytestmark = pytest.mark.usefixtures("working_folder")


@pytest.mark.parametrize(
    ("name", "subtype", "rate_hz", "channels", "samples"),
    [
        ("a.wav", "PCM_16", 16_000, 1, 1),
        ("a.wav", "PCM_16", 16_000, 1, 300),
        ("a.wav", "PCM_U8", 8000, 1, 9000),
        ("a.wav", "PCM_16", 44_100, 2, 44_111),
        ("a.wav", "PCM_24", 48_000, 2, 30_000),
        ("a.wav", "FLOAT", 16_000, 7, 9000),
        ("a.wav", "PCM_16", 192_000, 1, 50_000),
        ("a.flac", "PCM_16", 48_000, 1, 48_000),
        ("a.aiff", "PCM_16", 22_050, 1, 20_000),
        ("a.wav", "ULAW", 8000, 1, 8000),
    ],
)
def test_faders_at_one_return_the_file(
    noise: Noise, name: str, subtype: str, rate_hz: int, channels: int, samples: int
) -> None:
    soundfile.write(name, noise(samples, channels), rate_hz, subtype)
    assert enhance(name, *UNITY).exit_code == 0
    output = Path(name).with_stem("a_enhanced")
    before, after = soundfile.info(name), soundfile.info(output)
    assert (after.samplerate, after.channels, after.frames) == (rate_hz, channels, samples)
    assert (after.format, after.subtype) == (before.format, subtype)
    kind = "float32" if subtype in ("FLOAT", "PCM_24") else "int16"
    expected, found = (soundfile.read(path, dtype=kind)[0] for path in (name, output))
    np.testing.assert_allclose(found, expected, atol=1e-5 if kind == "float32" else 0)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_lossy_files_stay_in_step(noise: Noise, name: str) -> None:
    time = np.arange(48_000) / 48_000
    swell = np.exp(-(((time - 0.5) / 0.1) ** 2)) * np.sin(2 * np.pi * 440 * time)
    subtype = "OPUS" if name == "a.opus" else None
    format_ = "OGG" if name == "a.opus" else None
    soundfile.write(name, 0.5 * swell, 48_000, subtype, format=format_)
    assert enhance(name, *UNITY).exit_code == 0
    output = Path(name).with_stem("a_enhanced")
    assert soundfile.info(output).subtype == soundfile.info(name).subtype
    found, _ = soundfile.read(output)
    assert len(found) == 48_000
    np.testing.assert_allclose(found, 0.5 * swell, atol=0.02)


@pytest.mark.parametrize(
    "audio",
    [
        np.full(20_000, 0.5),
        np.full(20_000, 10 ** (-90 / 20)),
        np.sign(np.sin(np.arange(20_000) / 9)),
        np.zeros(20_000),
    ],
    ids=["DC", "−90 dBFS", "full-scale clipping", "silence"],
)
def test_sound_that_must_simply_work(audio: NDArray[np.float64]) -> None:
    soundfile.write("a.wav", audio, 48_000)
    assert enhance("a.wav").exit_code == 0
    assert len(soundfile.read("a_enhanced.wav")[0]) == 20_000


@pytest.mark.parametrize("linked", [[], ["--linked"]])
def test_stems_add_up_to_the_input(noise: Noise, linked: list[str]) -> None:
    soundfile.write("a.wav", noise(30_000, 2), 44_100)
    assert enhance("a.wav", "--stems", *linked).exit_code == 0
    assert files() == ["a.wav", "a_noise.wav", "a_room.wav", "a_voice.wav"]
    stems = [soundfile.read(f"a_{part}.wav")[0] for part in ("voice", "room", "noise")]
    np.testing.assert_allclose(sum(stems), soundfile.read("a.wav")[0], atol=1e-5)
    assert soundfile.info("a_voice.wav").subtype == "FLOAT"


def test_faders_reach_the_model(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(5000), 16_000, "FLOAT")
    options = ["--voice", "-inf", "--room", "-inf", "--noise", "0", "--model", stand_in]
    assert enhance("a.wav", *options).exit_code == 0
    expected = STAND_IN_SHARES[2] * soundfile.read("a.wav")[0]
    np.testing.assert_allclose(soundfile.read("a_enhanced.wav")[0], expected, rtol=1e-5)


def test_a_pipe_of_wav(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(20_000, 2), 44_100)
    done = start("-", *UNITY, "--model", stand_in, stdin=Path("a.wav").read_bytes())
    assert done.returncode == 0
    Path("b.wav").write_bytes(done.stdout)
    np.testing.assert_array_equal(
        soundfile.read("b.wav", dtype="int16")[0], soundfile.read("a.wav", dtype="int16")[0]
    )


def test_a_pipe_of_raw_samples(stand_in: Path, noise: Noise) -> None:
    samples = np.rint(noise(3000) * 32_768).astype("<i2").tobytes()
    options = [*UNITY, "--raw", "s16le,16000,1", "--model", stand_in]
    done = start("-", *options, stdin=samples)
    assert done.stdout == samples
    assert b"standard input \xe2\x86\x92 standard output" in done.stderr
    assert enhance("nothing.wav", "--raw", "s16le,16000,1").exit_code == 2


def test_from_a_pipe_to_a_file_and_back(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(3000), 16_000)
    content = Path("a.wav").read_bytes()
    assert start("-", "-o", "b.flac", "--model", stand_in, stdin=content).returncode == 0
    assert soundfile.info("b.flac").frames == 3000
    done = start("b.flac", "-o", "-", "--model", stand_in)
    assert done.stdout[:4] == b"RIFF"


def test_whoever_reads_our_output_may_go(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(2_000_000), 16_000)
    command = [sys.executable, "-c", COMMAND, "a.wav", "-o", "-", "--model", str(stand_in)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_a_batch_goes_on_after_a_bad_file(stand_in: Path, noise: Noise) -> None:
    Path("in/deep").mkdir(parents=True)
    for name in ("in/a.wav", "in/deep/c.flac"):
        soundfile.write(name, noise(2000), 16_000)
    Path("in/b.wav").write_text("no audio")
    done = enhance("in", "-r", "-o", "out", "--model", stand_in, "--json")
    assert done.exit_code == 1
    assert files() == ["in/a.wav", "in/b.wav", "in/deep/c.flac", "out/a.wav", "out/deep/c.flac"]
    assert "b.wav: not an audio file" in done.stderr
    assert "1 of 3 inputs failed" in done.stderr
    summary = json.loads(done.stdout)
    assert [Path(file["input"]).name for file in summary["files"]] == ["a.wav", "c.flac"]
    assert [Path(file["source"]).name for file in summary["failed"]] == ["b.wav"]


def test_existing_outputs_are_kept(stand_in: Path, noise: Noise) -> None:
    soundfile.write("a.wav", noise(2000), 16_000)
    Path("a_enhanced.wav").write_bytes(b"precious")
    refused = enhance("a.wav", "--model", stand_in)
    assert refused.exit_code == 1
    assert "exists; use --overwrite, --skip-existing or -o" in refused.stderr
    skipped = enhance("a.wav", "--model", stand_in, "--skip-existing")
    assert skipped.exit_code == 0
    assert "skipped" in skipped.stderr
    assert Path("a_enhanced.wav").read_bytes() == b"precious"
    assert enhance("a.wav", "--model", stand_in, "--overwrite").exit_code == 0
    assert soundfile.info("a_enhanced.wav").frames == 2000


def test_plot(stand_in: Path, noise: Noise) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[plot]'")
    soundfile.write("a.wav", noise(20_000), 48_000)
    assert enhance("a.wav", "--plot", "--model", stand_in).exit_code == 0
    assert files() == ["a.wav", "a_enhanced.png", "a_enhanced.wav"]


def test_help_and_version_import_nothing_heavy() -> None:
    spy = (
        "import sys, atexit\n"
        "heavy = ('numpy', 'onnxruntime', 'soundfile', 'soxr', 'torch', 'matplotlib', 'scipy')\n"
        "atexit.register(lambda: print('HEAVY', [m for m in heavy if m in sys.modules]))\n"
    )
    for option in ("--help", "--version"):
        done = start(option, code=spy + COMMAND)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == b"HEAVY []"


def test_torch_is_not_needed(noise: Noise) -> None:
    soundfile.write("a.wav", noise(20_000, 2), 44_100)
    block = (
        "import sys\nfor name in ('torch', 'torchaudio', 'scipy', 'matplotlib', 'onnx', 'av'):\n"
    )
    done = start("a.wav", "--quiet", code=f"{block}    sys.modules[name] = None\n{COMMAND}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert soundfile.info("a_enhanced.wav").frames == 20_000
