import numpy as np
import pytest
import torch

from truenet.levels import active_level_db, gain, gate, power_db, scale_to_snr


def noise(rows: int, samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def bursts(floor_db: float) -> torch.Tensor:
    """Half a second at 0 dB, half a second of floor, and so on for four seconds."""
    level_db = torch.tensor([0.0, floor_db]).repeat(4).repeat_interleave(8_000)
    return noise(1, 64_000) * gain(level_db)


def test_level_follows_gain_and_silence_is_finite() -> None:
    assert power_db(noise(2, 50_000)).numpy() == pytest.approx([0, 0], abs=0.1)
    assert power_db(0.1 * noise(1, 50_000)).item() == pytest.approx(-20, abs=0.1)
    assert power_db(torch.zeros(1, 10)).item() == active_level_db(torch.zeros(1, 10)).item() == -200


@pytest.mark.parametrize("pause_db", [-40.0, -200.0])
def test_pauses_do_not_change_the_active_level(pause_db: float) -> None:
    assert active_level_db(bursts(pause_db)).item() == pytest.approx(0, abs=0.3)
    assert power_db(bursts(pause_db)).item() == pytest.approx(-3, abs=0.2)


@pytest.mark.parametrize("samples", [1, 100, 512, 1_000])
def test_short_pieces_have_a_level(samples: int) -> None:
    assert active_level_db(torch.full((samples,), 0.1)).item() == pytest.approx(-20, abs=1e-3)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 25.0])
def test_noise_is_scaled_to_the_snr(snr_db: float) -> None:
    speech, quiet = bursts(-200.0), 0.003 * noise(1, 64_000, 1)
    scaled = scale_to_snr(quiet, active_level_db(speech), torch.tensor([snr_db]), -70.0)
    assert (active_level_db(speech) - power_db(scaled)).item() == pytest.approx(snr_db, abs=0.01)


def test_silent_noise_is_not_turned_up() -> None:
    scaled = scale_to_snr(torch.full((1, 100), 1e-6), torch.zeros(1), torch.zeros(1), -70.0)
    assert power_db(scaled).item() == pytest.approx(-120 + 70, abs=0.1)


def test_gate_turns_the_floor_down_and_leaves_speech_alone() -> None:
    speech = bursts(-40.0)
    gated = gate(speech, 15.0)
    loud, pause = slice(17_000, 23_000), slice(26_000, 30_000)
    assert torch.equal(gated[:, loud], speech[:, loud])
    torch.testing.assert_close(gated[:, pause], speech[:, pause] * 10 ** (-15 / 20))


def test_gate_holds_word_ends_and_does_not_click() -> None:
    change = (gate(bursts(-40.0), 15.0) / bursts(-40.0))[0]
    assert change[24_000:24_300].min() > 0.99
    assert change.diff().abs().max() < 0.01


def test_gate_keeps_what_is_not_far_below_and_silence() -> None:
    assert torch.equal(gate(bursts(-20.0), 15.0), bursts(-20.0))
    assert not gate(torch.zeros(2, 5_000), 15.0).any()
    assert np.isfinite(gate(noise(1, 200), 15.0).numpy()).all()
