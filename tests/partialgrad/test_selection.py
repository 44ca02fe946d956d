"""Selectors choose distinct columns, reproducibly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partialgrad.selection import Blocks, Random, Scores, Selector, WeightNorm, check_indices

SELECTORS: list[Selector] = [Random(), Random(7), Blocks(), Blocks(3), WeightNorm()]


@settings(max_examples=40)
@given(st.sampled_from(SELECTORS), st.integers(1, 40), st.data())
def test_r_distinct_columns_whatever_else_draws_numbers(
    selector: Selector, columns: int, data: st.DataObject
) -> None:
    r = data.draw(st.integers(1, columns))
    weight = torch.arange(columns * 2.0).reshape(columns, 2)
    torch.manual_seed(1)
    first = check_indices(selector(["a.weight"], [weight], r), columns, r, "a.weight")
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = check_indices(selector(["a.weight"], [weight], r), columns, r, "a.weight")
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_depends_on_name_and_seed() -> None:
    weight = torch.zeros(100, 1)
    choices = {
        tuple(Random(seed)([name], [weight], 5).tolist()) for name in "abc" for seed in range(3)
    }
    assert len(choices) == 9


def test_random_is_uniform() -> None:
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[Random(seed)(["a"], [torch.zeros(10, 1)], 3)] += 1
    assert ((counts - 600).abs() < 90).all()  # over 4 standard deviations


def test_blocks_are_runs() -> None:
    indices = check_indices(Blocks(4)(["a"], [torch.zeros(64, 1)], 12), 64, 12, "a")
    runs = indices.view(3, 4)
    assert torch.equal(runs - runs[:, :1], torch.arange(4).expand(3, 4))
    with pytest.raises(ValueError, match="at least 1"):
        Blocks(0)


def test_norm_and_scores_count_all_weights_of_a_group() -> None:
    first, second = torch.tensor([[3.0], [0], [2], [0]]), torch.tensor([[0.0], [1], [2.9], [0]])
    assert WeightNorm()(["a", "b"], [first, second], 1).item() == 2
    scores = Scores({"a": first.flatten(), "b": second.flatten()})
    assert sorted(scores(["a", "b"], [first, second], 2).tolist()) == [0, 2]
    with pytest.raises(ValueError, match="no scores for c"):
        scores(["c"], [first], 1)
