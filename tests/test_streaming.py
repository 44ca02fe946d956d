"""One call or many, the output is the same; nothing looks ahead; faders at one return the input."""

import pytest
import torch

from truenet.config import TRUNetConfig
from truenet.streaming import StreamingTRUNet

CONFIGS = {
    "paper": TRUNetConfig(),
    "one mask": TRUNetConfig(masks=1),
    "hard sign": TRUNetConfig(sign="gumbel"),
    "hop 256": TRUNetConfig(hop_samples=256),
    "no pcen": TRUNetConfig(features=("log_magnitude", "demodulated_phase")),
    "advance": TRUNetConfig(features=("log_magnitude", "pcen", "phase_advance")),
    "both phases": TRUNetConfig(features=("demodulated_phase", "phase_advance"), hop_samples=256),
}


def make(name: str = "paper") -> StreamingTRUNet:
    torch.manual_seed(0)
    return StreamingTRUNet(CONFIGS[name]).double().eval().requires_grad_(False)


def noise(frames: int, model: StreamingTRUNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    length = frames * model.config.hop_samples
    return torch.randn(2, length, generator=generator, dtype=torch.float64) * 0.1


FADERS = torch.tensor([[1, 0, 0], [0.5, 0.2, 0.7]], dtype=torch.float64)


@pytest.mark.parametrize("name", CONFIGS)
def test_pieces_equal_the_whole(name: str) -> None:
    model = make(name)
    audio = noise(24, model)
    whole, last = model(audio, model.initial_state(2), FADERS)
    for frames in (1, 2, 7):
        state, outputs = model.initial_state(2), []
        for piece in audio.split(frames * model.config.hop_samples, dim=1):
            output, state = model(piece, state, FADERS)
            outputs.append(output)
        torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-9)
        torch.testing.assert_close(state, last, rtol=0, atol=1e-9)


def test_later_input_never_changes_earlier_output() -> None:
    model = make()
    audio = noise(20, model)
    other = audio.clone()
    other[:, 10 * 128 :] = 0.3
    first, _ = model(audio, model.initial_state(2), FADERS)
    second, _ = model(other, model.initial_state(2), FADERS)
    assert torch.equal(first[:, : 10 * 128], second[:, : 10 * 128])
    assert not torch.allclose(first[:, 10 * 128 :], second[:, 10 * 128 :])


def test_faders_at_one_return_the_input_delayed_and_stems_add_up() -> None:
    model = make()
    audio, latency = noise(20, model)[:1].repeat(3, 1), model.config.latency_samples
    stems, _ = model(audio, model.initial_state(3), torch.eye(3, dtype=torch.float64))
    together, _ = model(audio, model.initial_state(3), torch.ones(3, 3, dtype=torch.float64))
    torch.testing.assert_close(together[:, latency:], audio[:, :-latency], rtol=0, atol=1e-6)
    torch.testing.assert_close(stems.sum(0), together[0], rtol=0, atol=1e-9)


def test_training_parts_are_the_stems_that_the_faders_give() -> None:
    model = make()
    audio = noise(20, model)
    parts, state = model.parts(audio, model.initial_state(2))
    for index, gains in enumerate(torch.eye(3, dtype=torch.float64)):
        stem, following = model(audio, model.initial_state(2), gains.repeat(2, 1))
        torch.testing.assert_close(parts[index], stem, rtol=0, atol=1e-12)
    kept = [size for _, size in model.state_layout]
    for index in (0, *range(2, len(kept))):
        torch.testing.assert_close(state.split(kept, 1)[index], following.split(kept, 1)[index])


def test_masks_sum_to_one_at_every_bin() -> None:
    model = make()
    masks, _, _ = model.masks(noise(20, model), model.initial_state(2))
    voice = torch.complex(masks.voice_real, masks.voice_imaginary)
    not_noise = torch.complex(masks.not_noise_real, masks.not_noise_imaginary)
    total = voice + (not_noise - voice) + (1 - not_noise)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert (not_noise - voice).abs().mean() > 1e-3  # the sum is one with three masks that differ


def test_rows_of_a_batch_do_not_meet() -> None:
    model = make()
    audio = noise(12, model)
    both, _ = model(audio, model.initial_state(2), FADERS)
    for row in range(2):
        alone, _ = model(audio[row : row + 1], model.initial_state(1), FADERS[row : row + 1])
        torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-12)


def test_state_layout_is_the_state() -> None:
    model = make()
    _, state = model(noise(3, model), model.initial_state(2), FADERS)
    assert state.shape == (2, model.state_size) == (2, 384 + 384 + 257 + 1 + 2048)
    counter = sum(size for _, size in model.state_layout[:3])
    assert state[0, counter] == 3
