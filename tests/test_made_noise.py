import numpy as np
import pytest
from numpy.typing import NDArray

from truenet.made_noise import Maker, babble, clicks, coloured, hum, make_noise, wind
from truenet.sources import Recordings


def speech() -> Recordings:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, 9_000, np.int16)
    return Recordings(samples, np.array([0, 4_000, 9_000]), ("a", "b"))


@pytest.mark.parametrize("maker", [coloured, hum, clicks, wind, babble, make_noise])
@pytest.mark.parametrize("samples", [100, 30_000])
def test_every_maker_makes_sound(maker: Maker, samples: int) -> None:
    for seed in range(6):
        track, again = (maker(np.random.default_rng(seed), speech(), samples) for _ in "12")
        assert track.shape == (samples,)
        assert track.dtype == np.float32
        assert np.isfinite(track).all()
        assert track.any()
        np.testing.assert_array_equal(track, again)


def energy_below(track: NDArray[np.float32], hz: float) -> float:
    power = np.abs(np.fft.rfft(track)) ** 2
    return float(power[: int(hz * len(track) / 16_000)].sum() / power.sum())


def test_wind_is_low_and_hum_is_a_line_spectrum() -> None:
    for seed in range(5):
        generator = np.random.default_rng(seed)
        assert energy_below(wind(generator, speech(), 32_000), 1_000) > 0.95
        power = np.sort(np.abs(np.fft.rfft(hum(generator, speech(), 32_000))) ** 2)
        assert power[-len(power) // 20 :].sum() / power.sum() > 0.8
