"""`truenet live` on a real sound server: PulseAudio with null sinks, started for these tests.

What does not depend on time is asserted at once; what does is tried three times (`sound_server.judge`).
"""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from sound_server import (
    COMMAND,
    MICROPHONE,
    PATIENCE_SECONDS,
    RATE_HZ,
    SPEAKER,
    VIRTUAL,
    Recording,
    Server,
    judge,
    skip_without_sound_server,
    wait_for,
)

from truenet.enhancer import Enhancer
from truenet.faders import DEFAULT_NOISE_DB

SAMPLES = Path(__file__).parents[1] / "samples"
MODEL_HZ = 16_000
PERIOD_MS = 8.0
UNITY = ["--voice", "0", "--room", "0", "--noise", "0"]
STEADY = ["--queue", "100"]  # in reserve: these machines are busy
BETTER_DB = 2.0  # of the 3 to 4 dB that the model gains on this sample


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    skip_without_sound_server()
    folder = tmp_path_factory.mktemp("sound")
    folder.chmod(0o700)
    # where tests run in the background, Ctrl-C is ignored, and what they start would inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = Server(folder)
    yield running
    running.end()
    signal.signal(signal.SIGINT, before)


def trouble(messages: str) -> str:
    """What the last line says was late."""
    dropouts, overloads = re.findall(r"(\d+) dropouts?, (\d+) overloads?", messages)[-1]
    return "" if dropouts == overloads == "0" else f"{dropouts} dropouts, {overloads} overloads"


def si_sdr_db(found: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    target = clean * (found @ clean) / (clean @ clean)
    return float(10 * np.log10((target @ target) / np.sum((found - target) ** 2)))


def aligned_si_sdr_db(recorded: NDArray[np.floating], clean: NDArray[np.float64]) -> float:
    """Of a longer recording at 16 kHz, against the clean voice.

    Each quarter of a second is taken from where it lies: a clock that is corrected by a few samples is no noise.
    """
    found = recorded.astype(np.float64)
    place = find_place(found, clean)
    starts = range(0, len(clean) - 4000, 4000)
    near = [found[max(0, place + start - 160) : place + start + 4160] for start in starts]
    pieces = [clean[start : start + 4000] for start in starts]
    places = [find_place(*pair) for pair in zip(near, pieces, strict=True)]
    taken = [part[at : at + 4000] for part, at in zip(near, places, strict=True)]
    return si_sdr_db(np.concatenate(taken), np.concatenate(pieces))


def find_place(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> int:
    """Where the one begins in the other."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size)), size)
    return int(np.argmax(likeness[: max(1, len(found) - len(wanted) + 1)]))


def read(path: Path) -> NDArray[np.float64]:
    return soundfile.read(path)[0]


def test_the_voice_is_better_at_the_other_end(server: Server, tmp_path: Path) -> None:
    noisy, clean = (read(SAMPLES / folder / "machine.flac") for folder in (".", "clean"))
    played = np.asarray(soxr.resample(noisy, MODEL_HZ, RATE_HZ))
    silence = np.zeros(RATE_HZ)
    noisy_db = si_sdr_db(noisy, clean)
    options = ["--virtual-microphone", *STEADY, "--room", "-inf", "--noise", "-inf"]

    def attempt() -> tuple[str, str]:
        files = [tmp_path / name for name in ("before.wav", "after.wav")]
        for file in files:
            file.unlink(missing_ok=True)
        with server.live(*options, "--record", *map(str, files)) as live:
            live.wait_for_virtual_microphone()
            far_end = Recording(server, VIRTUAL)
            server.play(np.concatenate([*[silence] * 4, played, silence]))  # it settles first
            heard, _ = far_end.stop()
            assert live.end() == 0, live.messages
        assert not server.has_virtual_microphone()
        heard_db, written_db = (
            aligned_si_sdr_db(samples, clean)
            for samples in (soxr.resample(heard, RATE_HZ, MODEL_HZ), read(files[1]))
        )
        print(
            f"SI-SDR {noisy_db:.1f} dB, then {heard_db:.1f} at the far end, {written_db:.1f} written"
        )
        better = min(heard_db, written_db) > noisy_db + BETTER_DB
        wrong = "" if better else f"{noisy_db:.1f} dB became {heard_db:.1f} and {written_db:.1f} dB"
        return trouble(live.messages), wrong

    judge(attempt)


def test_what_is_recorded_is_what_the_model_makes_of_it(server: Server, tmp_path: Path) -> None:
    """Sample for sample, whatever was late on the way in or out: only a model that was passed by differs."""
    noisy = np.asarray(soxr.resample(read(SAMPLES / "cafe.flac"), MODEL_HZ, RATE_HZ))

    def attempt() -> tuple[str, str]:
        files = [tmp_path / name for name in ("before.wav", "after.wav")]
        for file in files:
            file.unlink(missing_ok=True)
        options = ["--output", SPEAKER, *STEADY, "--record", *map(str, files)]
        with server.live(*options) as live:
            wait_for(lambda: " s: in " in live.messages, "a first line")
            server.play(noisy[: 3 * RATE_HZ])
            assert live.end() == 0, live.messages
        before, after = (read(file).astype(np.float32) for file in files)
        assert len(before) == len(after)
        wanted = Enhancer().enhance(before, MODEL_HZ)
        error = after[:-512] - wanted[:-512]  # at the end, `enhance` hears silence
        agreement_db = 10 * np.log10(np.sum(wanted**2) / np.sum(error**2))
        print(f"agreement {agreement_db:.0f} dB")
        wrong = "" if agreement_db > 25 else f"only {agreement_db:.0f} dB of agreement"
        return trouble(live.messages), wrong

    judge(attempt)


def test_faders_at_one_return_every_sample(server: Server, tmp_path: Path) -> None:
    """Also while the machine is too busy, for the bypass is the same."""
    files = [tmp_path / name for name in ("before.flac", "after.flac")]
    tone = 0.3 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(2 * RATE_HZ))
    options = [*UNITY, "--output", SPEAKER, "--record", *map(str, files)]
    with server.live(*options) as live:
        wait_for(lambda: " s: in " in live.messages, "a first line")
        server.play(tone)
        assert live.end() == 0, live.messages
    before, after = map(read, files)
    assert np.max(np.abs(before)) > 0.1, "the tone was not heard"
    np.testing.assert_allclose(after, before, atol=1.5 / 2**15)


def test_the_latency_that_is_shown_is_the_latency(server: Server) -> None:
    impulses = np.zeros(RATE_HZ * 11)
    impulses[RATE_HZ * 5 :: RATE_HZ // 2] = 0.9

    def attempt() -> tuple[str, str]:
        with server.live("--virtual-microphone", *STEADY, *UNITY) as live:
            live.wait_for_virtual_microphone()
            near_end, far_end = (
                Recording(server, f"{MICROPHONE}.monitor"),
                Recording(server, VIRTUAL),
            )
            server.play(impulses)
            came, left = (impulse_seconds(*end.stop()) for end in (near_end, far_end))
            assert live.end() == 0, live.messages
        disturbed = trouble(live.messages)
        if min(len(came), len(left)) < 8:
            return disturbed, f"{len(came)} impulses went in, {len(left)} came out"
        measured = [1000 * min((left - at)[left > at], default=np.inf) for at in came[2:-1]]
        shown = [float(found) for found in re.findall(r"latency (\d+) ms", live.messages)[-2:]]
        if np.ptp(measured) > PERIOD_MS or np.ptp(shown) > PERIOD_MS / 2:
            disturbed = (
                disturbed or f"the delay changed, {min(measured):.0f} to {max(measured):.0f} ms"
            )
        middle = float(np.median(measured))
        wrong = (
            "" if abs(middle - shown[-1]) <= PERIOD_MS else f"{middle:.1f} ms, shown {shown[-1]}"
        )
        print(f"measured {middle:.1f} ms, shown {shown[-1]:.0f} ms")
        return disturbed, wrong

    judge(attempt)


def impulse_seconds(samples: NDArray[np.float32], start_seconds: float) -> NDArray[np.float64]:
    """When the impulses came."""
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    return start_seconds + loud[np.diff(loud, prepend=-RATE_HZ) > RATE_HZ // 10] / RATE_HZ


def test_the_screen_and_its_keys_on_a_terminal(server: Server) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "--input", f"{MICROPHONE}.monitor", "--output", SPEAKER]
    environment = server.environment | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, env=environment) as live:
        os.close(theirs)
        try:
            read_until(ours, "use headphones")
            read_until(ours, "voice +0 dB, room")
            os.write(ours, b"vb")
            read_until(ours, "bypass (voice -3 dB")
            os.write(ours, b"bN")
            read_until(ours, f"noise {DEFAULT_NOISE_DB + 3:.0f} dB")
            os.write(ours, b"q")
            read_until(ours, " s: in ")  # the last line stays when the screen has gone
            assert live.wait(PATIENCE_SECONDS) == 0
        finally:
            live.kill()  # or leaving the block would wait for it
    os.close(ours)


def read_until(terminal: int, words: str) -> None:
    shown = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in shown:  # an OSError when there is nobody to say them any more
        assert time.monotonic() < deadline, f"waited for {words!r} in {shown[-2000:]!r}"
        shown += os.read(terminal, 4096).decode(errors="replace")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_behind(server: Server, number: signal.Signals) -> None:
    with server.live("--virtual-microphone") as live:
        live.wait_for_virtual_microphone()
        assert live.end(number) == (0 if number == signal.SIGINT else 128 + number)
    assert not server.has_our_modules()


def test_a_second_one_is_refused_and_what_a_crash_left_is_removed(server: Server) -> None:
    with server.live("--virtual-microphone") as first:
        first.wait_for_virtual_microphone()
        with server.live("--virtual-microphone") as second:
            assert second.end(None) == 1
        assert "another" in second.messages
        assert server.has_virtual_microphone()
        first.end(signal.SIGKILL)
    assert server.has_virtual_microphone()
    with server.live("--virtual-microphone", "--duration", "1") as third:
        assert third.end(None) == 0, third.messages
    assert not server.has_our_modules()


@pytest.mark.parametrize("sink", ["truenet_output", "unpluggable"])
def test_a_device_that_vanishes_ends_it_with_a_clear_message(server: Server, sink: str) -> None:
    ours = sink == "truenet_output"
    if not ours:
        server.pactl("load-module", "module-null-sink", f"sink_name={sink}")
    with server.live(*(["--virtual-microphone"] if ours else ["--output", sink])) as live:
        wait_for(lambda: " s: in " in live.messages, "a first line")
        lines = server.pactl("list", "short", "modules").splitlines()
        (module,) = (line.split("\t")[0] for line in lines if f"sink_name={sink}" in line)
        server.pactl("unload-module", module)
        assert live.end(None) == 1, live.messages
    assert "is gone" in live.messages.splitlines()[-1]
    assert "Traceback" not in live.messages
    assert not server.has_our_modules()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "nothing"], "there is none of this name"),
        (["--output", "null output"], "several are called so"),
        (["--output", MICROPHONE], "that is a loop"),
        (["--output", SPEAKER, "--record", "same.wav", "same.wav"], "two names"),
        (["--output", SPEAKER, "--record", "a.txt", "b.wav"], "name an audio file"),
    ],
)
def test_what_cannot_be_is_said_in_words(server: Server, options: list[str], words: str) -> None:
    with server.live(*options) as live:
        assert live.end(None) == 1
    assert words in live.messages
    assert "Traceback" not in live.messages
