"""The engine between two simulated devices: delay, clocks, overload, and the sound itself."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_stand_in
from numpy.typing import NDArray
from simulated_devices import Devices, Sound

from truenet.enhancer import Enhancer
from truenet_apps.live_engine import LiveEngine

RATES = [(16_000, 16_000), (48_000, 48_000), (44_100, 48_000), (48_000, 44_100), (8000, 22_050)]


def stand_in(folder: Path) -> Enhancer:
    model = write_stand_in(folder / "model.onnx", shares=(0.5, 0.25, 0.25))
    return Enhancer(model, voice_db=0, room_db=0, noise_db=0, whole_frames=True)


def tone(rate_hz: int, hz: float = 440.0) -> Sound:
    return lambda places: (0.3 * np.sin(2 * np.pi * hz * places / rate_hz)).astype(np.float32)


def impulse(place: int) -> Sound:
    return lambda places: (places == place).astype(np.float32)


@pytest.mark.parametrize(("input_hz", "output_hz"), RATES)
def test_an_impulse_arrives_when_the_latency_says(
    tmp_path: Path, input_hz: int, output_hz: int
) -> None:
    devices = Devices(stand_in(tmp_path), impulse(5 * input_hz), input_hz, output_hz)
    played = np.concatenate(list(devices.run(6.0)))
    arrived = np.argmax(np.abs(played)) / output_hz + 0.3 * devices.block_seconds
    spoken = 5 - devices.block_seconds  # a block is handed over as soon as its last sample is there
    shown = devices.engine.status().latency_ms
    assert 1000 * (arrived - spoken) == pytest.approx(shown, abs=1.0)
    assert shown < 75


@pytest.mark.parametrize("apart_ppm", [-200, 200])
def test_two_clocks_are_kept_together(tmp_path: Path, apart_ppm: int) -> None:
    devices = Devices(
        stand_in(tmp_path), tone(16_000), 16_000, 22_050, apart_ppm, block_seconds=0.016
    )
    latencies = []
    for number, _ in enumerate(devices.run(120)):
        if devices.seconds > 60 and number % 100 == 0:
            latencies.append(devices.engine.status().latency_ms)
    status = devices.engine.status()
    assert status.dropouts == 0
    assert max(latencies) - min(latencies) < 5
    assert status.drift_ppm == pytest.approx(-apart_ppm, abs=50)


def test_equal_clocks_and_faders_at_one_return_the_input(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    samples = (0.1 * generator.standard_normal(16_000 * 8)).astype(np.float32)
    devices = Devices(stand_in(tmp_path), lambda places: samples[places % len(samples)])
    played = np.concatenate(list(devices.run(8)))[16_000 * 4 :]
    size = 2**18
    likeness = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(played, size)), size)
    place = int(np.argmax(likeness))
    late_ms = (
        16_000 * 4 - place
    ) / 16 + 1.3 * 1000 * devices.block_seconds  # when its first samples are spoken
    assert late_ms == pytest.approx(devices.engine.status().latency_ms, abs=1.0)
    np.testing.assert_allclose(played, samples[place : place + len(played)], atol=1e-5)
    assert devices.engine.status().drift_ppm == 0


def test_a_model_that_is_too_slow_is_passed_by_and_the_delay_stays(tmp_path: Path) -> None:
    devices = Devices(stand_in(tmp_path), tone(16_000))
    for _ in devices.run(5):
        pass
    before = devices.engine.status()
    overloaded = []
    for number, _ in enumerate(devices.run(20, frames_a_block=1)):  # 10 ms come for 8 that are done
        if number % 10 == 0:
            overloaded.append(devices.engine.status().overloaded)
    for _ in devices.run(60):
        pass
    after = devices.engine.status()
    assert 1 <= after.overloads <= 5
    assert sum(overloaded) > len(overloaded) / 2
    assert not after.overloaded
    assert after.latency_ms == pytest.approx(before.latency_ms, abs=15)


def test_an_output_that_stood_still_does_not_leave_a_delay(tmp_path: Path) -> None:
    devices = Devices(stand_in(tmp_path), tone(16_000))
    for _ in devices.run(5):
        pass
    before = devices.engine.status().latency_ms
    devices.next_output += 3.0
    for _ in devices.run(15):
        pass
    assert devices.engine.status().latency_ms == pytest.approx(before, abs=12)


def test_no_click_while_clocks_are_corrected(tmp_path: Path) -> None:
    devices = Devices(stand_in(tmp_path), tone(48_000), 48_000, 48_000, apart_ppm=200)
    played: NDArray[np.float32] = np.concatenate(list(devices.run(40)))[48_000 * 4 :]
    steps = np.abs(np.diff(played, n=2))
    assert steps.max() < 1.2 * np.percentile(steps, 99)


def test_before_anything_plays_the_latency_is_the_window_alone() -> None:
    status = LiveEngine(Enhancer(whole_frames=True), 48_000, 48_000, 0.02).status()
    assert (status.device_ms, status.queue_ms) == (0, 0)
    assert status.latency_ms == status.window_ms > 0
