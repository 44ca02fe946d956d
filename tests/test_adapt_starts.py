"""Where crops of an adaptation start: as often as asked, the same for every step and crop, and as a stream would be."""

import collections

import pytest
import torch
from test_adapt_run import base, domain, settings

from truenet.config import StartConfig
from truenet_apps.adapt_starts import Bank, fill


def bank(carried: float, rested: float) -> Bank:
    return Bank(torch.ones(4, 3), torch.full((2, 3), 2.0), StartConfig(carried, rested), 5)


@pytest.mark.parametrize(("carried", "rested"), [(0.4, 0.2), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_shares_are_those_of_the_config(carried: float, rested: float) -> None:
    made = bank(carried, rested)
    kinds = collections.Counter(
        int(made.draw(step, crop)[0, 0]) for step in range(200) for crop in range(4)
    )
    for kind, share in ((1, carried), (2, rested), (0, 1 - carried - rested)):
        assert kinds[kind] / 800 == pytest.approx(share, abs=0.06 if 0 < share < 1 else 0)


def test_a_draw_depends_on_step_and_crop_alone() -> None:
    made = Bank(torch.arange(40.0)[:, None], torch.zeros(1, 1), StartConfig(1.0, 0.0), 0)
    first = {(s, c): made.draw(s, c).item() for s in range(9) for c in range(4)}
    again = {(s, c): made.draw(s, c).item() for c in range(4) for s in reversed(range(9))}
    assert first == again
    assert len(set(first.values())) > 12


def test_states_are_those_that_a_stream_reaches() -> None:
    config = settings()
    model, mixes = base(), domain(settings(), 1).train
    made = fill(model, mixes, StartConfig(0.4, 0.2, rest_seconds=2.0), config.seed)
    crops = mixes.batch(0, len(made.carried)).mixture
    whole = crops[:, : crops.shape[1] // 128 * 128]
    with torch.no_grad():
        _, expected = model.parts(whole, model.initial_state(len(whole)))
    torch.testing.assert_close(made.carried, expected)
    assert made.resting.isfinite().all()
    assert not made.carried.requires_grad
    assert not torch.equal(made.resting[0], made.resting[3])  # silence and loud noise
