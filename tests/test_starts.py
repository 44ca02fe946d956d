"""States that crops start from: shares, resting streams that go on, and draws that depend on the step alone."""

import pytest
import torch

from truenet.config import StartConfig, TRUNetConfig
from truenet.starts import Starts
from truenet.streaming import StreamingTRUNet


@pytest.fixture(scope="module")
def model() -> StreamingTRUNet:
    torch.manual_seed(0)
    config = TRUNetConfig(encoder_channels=(8,) * 6, decoder_channels=(8,) * 5)
    return StreamingTRUNet(config).eval()


def marked(model: StreamingTRUNet, config: StartConfig, crops: int = 2000) -> Starts:
    """Ended states are all 1, resting ones 2."""
    starts = Starts(config, model, crops, seed=3)
    starts.end(torch.ones_like(starts.ended))
    starts.resting = torch.full_like(starts.resting, 2.0)
    return starts


@pytest.mark.parametrize(("carried", "rested"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.0), (0.0, 1.0)])
def test_shares(model: StreamingTRUNet, carried: float, rested: float) -> None:
    states = marked(model, StartConfig(carried, rested)).draw(5)
    assert (states == states[:, :1]).all()  # a state is of one kind
    for kind, share in ((0, 1 - carried - rested), (1, carried), (2, rested)):
        assert (states[:, 0] == kind).float().mean().item() == pytest.approx(share, abs=0.05)


def test_draws_depend_on_seed_and_step_alone(model: StreamingTRUNet) -> None:
    config = StartConfig(0.4, 0.3)
    first, second = marked(model, config), marked(model, config)
    first.draw(1)
    torch.rand(3)
    assert torch.equal(first.draw(2), second.draw(2))
    assert not torch.equal(first.draw(2), first.draw(3))


def test_resting_streams_go_on_as_one_long_stream(model: StreamingTRUNet) -> None:
    starts = Starts(StartConfig(0.0, 1.0, rest_steps=4, rest_seconds=0.4), model, 2, seed=0)
    starts.rest(model, 0)
    once = starts.resting.clone()
    starts.rest(model, 3)
    assert torch.equal(starts.resting, once)
    starts.rest(model, 4)
    assert starts.resting[0, -1] != once[0, -1]
    silent = torch.zeros(1, 2 * 50 * model.config.hop_samples)
    _, state = model.parts(silent, model.initial_state(1))
    torch.testing.assert_close(starts.resting[:1], state, rtol=0, atol=1e-4)


def test_a_checkpoint_holds_them(model: StreamingTRUNet) -> None:
    starts = marked(model, StartConfig(0.4, 0.4), crops=4)
    other = Starts(starts.config, model, 4, seed=3)
    other.load_state_dict(starts.state_dict())
    assert torch.equal(other.draw(7), starts.draw(7))


@pytest.mark.parametrize(("carried", "rested"), [(-0.1, 0.0), (0.7, 0.4)])
def test_bad_shares(carried: float, rested: float) -> None:
    with pytest.raises(ValueError, match="give numbers from 0 up"):
        StartConfig(carried, rested)
