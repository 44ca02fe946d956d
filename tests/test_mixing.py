import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from truenet.config import MixingConfig
from truenet.levels import active_level_db, power_db
from truenet.mixing import Draw, Mixer, Mixture, MixtureBatches, balance
from truenet.rooms import RESPONSE_SAMPLES, Rooms, split
from truenet.sources import Recordings

CROP_SAMPLES = 16_384
NEVER = MixingConfig(
    crop_samples=CROP_SAMPLES,
    room_probability=0,
    second_noise_probability=0,
    made_noise_probability=0,
    speed_probability=0,
    equalization_probability=0,
    clipping_probability=0,
    lowpass_probability=0,
    silence_probability=0,
    noise_only_probability=0,
    clean_only_probability=0,
    noise_room_probability=0,
)
OFTEN = MixingConfig(
    crop_samples=CROP_SAMPLES,
    clipping_probability=0.3,
    lowpass_probability=0.3,
    silence_probability=0.1,
    noise_only_probability=0.15,
    clean_only_probability=0.15,
)


def recordings(seed: int, *, silence: bool = False) -> Recordings:
    """Bursts of noise at very different levels, with pauses; perhaps digital silence too."""
    generator = np.random.default_rng(seed)
    lengths = [9_600, 40_800, 72_000, *([24_000] if silence else [])]
    level = np.repeat(generator.uniform(0.1, 3, sum(lengths) // 2_400), 2_400)
    level[np.arange(len(level)) % 7_200 < 2_400] = 0.003
    level[sum(lengths[:3]) :] = 0
    samples = 3_000 * level * generator.standard_normal(len(level))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Recordings(samples.astype(np.int16), offsets, ("a", "a", "b", "silence")[: len(lengths)])


def rooms(direct_ms: float = 50.0) -> Rooms:
    generator = np.random.default_rng(3)
    tails = generator.standard_normal((4, RESPONSE_SAMPLES)) * 10 ** (
        -3 * np.arange(RESPONSE_SAMPLES) / np.array([[2_000], [4_000], [8_000], [16_000]])
    )
    tails[:, 40] = 10
    return Rooms(*split(tails.astype(np.float32), direct_ms))


def mixer(
    config: MixingConfig = OFTEN, seed: int = 0, silence: bool = False, **changes: float
) -> Mixer:
    config = dataclasses.replace(config, **changes)
    speech, noise = recordings(1, silence=silence), recordings(2, silence=silence)
    return Mixer(config, speech, noise, rooms(config.direct_ms), seed)


def equal(one: Mixture, other: Mixture) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def often() -> Mixer:
    return mixer()


@given(seed=st.integers(0, 2**31), step=st.integers(0, 2**31), crops=st.integers(1, 3))
@settings(max_examples=60)
def test_any_draw_is_finite_bounded_and_adds_up(seed: int, step: int, crops: int) -> None:
    batch = mixer(seed=seed, silence=True).batch(step, crops)
    assert torch.equal(batch.mixture, batch.voice + batch.room + batch.noise)
    for part in batch:
        assert part.shape == (crops, CROP_SAMPLES)
        assert part.dtype == torch.float32
        assert torch.isfinite(part).all()
    assert batch.mixture.abs().max() <= 1


def test_batch_depends_on_seed_rank_and_step_alone(often: Mixer) -> None:
    first = often.batch(5, 2)
    often.batch(6, 3)
    assert equal(first, often.batch(5, 2))
    assert equal(first, mixer().batch(5, 2))
    for other in (often.batch(6, 2), often.batch(5, 2, rank=1), mixer(seed=1).batch(5, 2)):
        assert not equal(first, other)


def test_workers_give_the_same_batches(often: Mixer) -> None:
    loader = torch.utils.data.DataLoader(
        MixtureBatches(often, 2), batch_size=None, sampler=range(3, 6), num_workers=1
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums over threads round differently
    try:
        assert all(equal(often.batch(3 + n, 2), batch) for n, batch in enumerate(loader))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 25.0])
@pytest.mark.parametrize("room_probability", [0.0, 1.0])
def test_snr_and_level_are_those_that_were_drawn(snr_db: float, room_probability: float) -> None:
    config = dataclasses.replace(NEVER, snr_db=(snr_db, snr_db), level_dbfs=(-50.0, -50.0))
    batch = mixer(config, room_probability=room_probability).batch(0, 6)
    level_db = active_level_db(batch.voice + batch.room)
    assert level_db.numpy() == pytest.approx(-50, abs=0.05)
    assert (level_db - power_db(batch.noise)).numpy() == pytest.approx(snr_db, abs=0.05)


def test_dry_crop_has_no_room_and_roomy_crop_has() -> None:
    dry, roomy = mixer(NEVER).batch(0, 4), mixer(NEVER, room_probability=1).batch(0, 4)
    assert not dry.room.any()
    assert roomy.room.any(dim=1).all()


@pytest.mark.parametrize(
    ("kind", "voice", "noise"),
    [("silence", False, False), ("noise_only", False, True), ("clean_only", True, False)],
)
def test_absent_parts_are_exactly_zero(kind: str, voice: bool, noise: bool) -> None:
    batch = mixer(NEVER, room_probability=0.5, **{f"{kind}_probability": 1.0}).batch(0, 8)
    assert batch.voice.any() == batch.room.any() == voice
    assert batch.noise.any() == noise


def test_late_part_starts_where_the_direct_part_ends() -> None:
    """Voice and room come from one response: together they do not depend on where it was cut."""
    short, long = (
        mixer(NEVER, room_probability=1, direct_ms=direct_ms, gate_db=0).batch(0, 3)
        for direct_ms in (2.5, 300.0)
    )
    torch.testing.assert_close(
        short.voice + short.room, long.voice + long.room, rtol=1e-3, atol=1e-5
    )
    assert (power_db(short.room) > power_db(long.room)).all()


def test_convolution_is_that_of_the_direct_path() -> None:
    """A room of one late echo: the room part is the voice, later and weaker."""
    responses = np.zeros((1, RESPONSE_SAMPLES), np.float32)
    responses[0, 40], responses[0, 40 + 4_000] = 1, 0.25
    config = dataclasses.replace(NEVER, room_probability=1, gate_db=0)
    echo = Mixer(config, recordings(1), recordings(2), Rooms(*split(responses, 50.0)))
    batch = echo.batch(0, 4)
    torch.testing.assert_close(
        batch.room[:, 4_000:], 0.25 * batch.voice[:, :-4_000], rtol=1e-3, atol=1e-6
    )


def share_above(part: torch.Tensor, hz: int) -> torch.Tensor:
    power = torch.fft.rfft(part * torch.hann_window(CROP_SAMPLES)).abs().square()
    return power[:, hz * CROP_SAMPLES // 16_000 :].sum(dim=1) / power.sum(dim=1)


def test_lowpass_takes_the_top_of_voice_and_noise() -> None:
    plain, dull = mixer(NEVER).batch(1, 8), mixer(NEVER, lowpass_probability=1).batch(1, 8)
    for part in (1, 3):
        assert (share_above(dull[part], 7_500) < 0.3 * share_above(plain[part], 7_500)).all()
        assert share_above(dull[part], 1_500).min() > 0.3


def test_equalizer_moves_the_spectrum() -> None:
    plain, coloured = mixer(NEVER).batch(1, 8), mixer(NEVER, equalization_probability=1).batch(1, 8)
    for part in (1, 3):
        change = share_above(coloured[part], 4_000) / share_above(plain[part], 4_000)
        assert change.min() < 0.9 < 1.1 < change.max()


def draw(**changes: object) -> Draw:
    plain = Draw(True, (0.0,), None, None, 10.0, -20.0, None, None, None)
    return dataclasses.replace(plain, **changes)


def test_clipping_changes_the_noise_alone() -> None:
    voice, noise = torch.randn(2, 9_000), torch.randn(2, 9_000)
    plain = balance([draw()] * 2, voice, 0 * voice, noise)
    clipped = balance([draw(clipping_db=6.0), draw()], voice, 0 * voice, noise)
    assert torch.equal(clipped.voice, plain.voice)
    limit = plain.mixture[0].abs().max() * 10 ** (-6 / 20)
    torch.testing.assert_close(clipped.mixture[0], plain.mixture[0].clamp(-limit, limit))
    assert torch.equal(clipped.mixture[1], plain.mixture[1])


def test_clean_crop_is_not_clipped() -> None:
    voice = torch.randn(1, 9_000)
    batch = balance([draw(clipping_db=6.0, noises_db=())], voice, 0 * voice, 0 * voice)
    assert not batch.noise.any()


def test_loud_parts_are_turned_down_together() -> None:
    voice, noise = torch.randn(1, 9_000), torch.randn(1, 9_000)
    batch = balance([draw(level_dbfs=10.0, snr_db=3.0)], voice, 0 * voice, noise)
    assert batch.mixture.abs().max().item() == pytest.approx(0.999, abs=1e-5)
    snr_db = active_level_db(batch.voice) - power_db(batch.noise)
    assert snr_db.item() == pytest.approx(3.0, abs=0.01)


def test_gate_is_part_of_the_mixture() -> None:
    assert not equal(mixer(NEVER).batch(0, 4), mixer(NEVER, gate_db=0).batch(0, 4))


def test_folders_alone_are_enough(tmp_path: Path) -> None:
    speech = recordings(1).samples
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech/a.flac", speech, 16_000)
    config = dataclasses.replace(OFTEN, speech=(str(tmp_path / "speech"),), noise=(), rooms=())
    batch = Mixer.from_config(config, cache=tmp_path / "cache").batch(0, 8)
    assert batch.voice.any()
    assert batch.room.any()
    assert batch.noise.any()


def test_no_speech_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"mixing.speech names no folder"):
        Mixer.from_config(OFTEN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snr_db": (5.0, -5.0)}, "mixing.snr_db"),
        ({"room_probability": 1.5}, "mixing.room_probability is 1.5"),
        ({"crop_samples": 0}, "mixing.crop_samples is 0"),
    ],
)
def test_wrong_config_is_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OFTEN, **changes)


def test_real_recordings_have_sane_statistics(shared_data: Path, tmp_path: Path) -> None:
    """Few sources, to be quick: 100 crops of recorded noise, voice and rooms."""
    train = shared_data / "train"
    config = MixingConfig(
        speech=(str(train / "speech/vctk"), str(train / "speech/librispeech_other")),
        noise=(str(train / "noise/esc10/rain"), str(train / "noise/ambie")),
        rooms=(str(train / "rir"),),
        clipping_probability=0,
    )
    mixtures = Mixer.from_config(config, cache=tmp_path)
    batches = [mixtures.batch(step, 10) for step in range(10)]
    voice, room, noise = (torch.cat([batch[part] for batch in batches]) for part in (1, 2, 3))
    talking, noisy, roomy = (part.any(dim=1) for part in (voice, noise, room))
    assert 0.85 < talking.float().mean() < 1
    assert 0.85 < noisy.float().mean() < 1
    assert 0.35 < roomy.float().mean() < 0.65
    both = talking & noisy
    snr_db = active_level_db((voice + room)[both]) - power_db(noise[both])
    assert -5.1 < snr_db.min() < snr_db.max() < 25.1
    direct_to_late_db = (power_db(voice) - power_db(room))[roomy & talking]
    assert 3 < direct_to_late_db.median() < 18
    frames = voice[talking].unfold(1, 512, 512).square().mean(dim=2)
    loud = frames > frames.amax(dim=1, keepdim=True) * 10**-2.5
    assert 0.45 < loud.float().mean() < 0.95
