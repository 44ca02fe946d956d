"""Draws and rates: exact counts, exact frequencies, the optimum under a budget."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from partialgrad import dropbp
from partialgrad.dropbp import MAX_RATE, allocate

rate_tables = st.lists(st.floats(0, MAX_RATE), min_size=1, max_size=12).map(
    lambda rates: {f"b{i}": rate for i, rate in enumerate(rates)}
)
positive = st.floats(0.05, 20)


@given(rate_tables, st.integers(), st.integers(0, 10**9))
def test_the_number_dropped_is_the_sum_of_the_rates(
    rates: dict[str, float], seed: int, step: int
) -> None:
    dropped = dropbp.draw(rates, seed, step)
    assert abs(len(dropped) - sum(rates.values())) < 1 + 1e-9
    assert all(rates[name] > 0 for name in dropped)


def test_every_branch_is_dropped_as_often_as_its_rate_says() -> None:
    rates = {f"b{i}": 0.1 * i for i in range(10)}
    steps = 4000
    draws = [dropbp.draw(rates, 0, step) for step in range(steps)]
    for name, rate in rates.items():
        share = sum(name in dropped for dropped in draws) / steps
        assert abs(share - rate) <= 4 * (rate * (1 - rate) / steps) ** 0.5
    pairs = sum({"b5", "b6"} <= dropped for dropped in draws) / steps
    assert 0.2 < pairs < 0.4  # neither always together nor never


def test_draws_are_the_same_on_every_machine() -> None:
    """Values from another run: an upgrade that changes them would break resumed runs."""
    rates = dict.fromkeys("abcdef", 0.5)
    wanted = [["a", "c", "f"], ["b", "c", "d"], ["a", "c", "d"]]
    assert [sorted(dropbp.draw(rates, 7, step)) for step in (0, 1, 10**6)] == wanted
    torch.manual_seed(1)
    assert sorted(dropbp.draw(rates, 7, 0)) == wanted[0]
    assert len({dropbp.draw(rates, seed, 0) for seed in range(50)}) > 10


@given(rate_tables, st.integers(0, 10**6))
def test_nested_levels_are_cut_at_one_depth(rates: dict[str, float], step: int) -> None:
    rising = dict(zip(rates, sorted(rates.values()), strict=True))
    dropped = dropbp.draw(rising, 0, step, nested=True)
    depth = len(rates) - len(dropped)
    assert dropped == set(list(rates)[depth:])


def test_rates_of_a_u_net_must_not_fall_inwards() -> None:
    branches = dropbp.Branches({"outer": ("a",), "inner": ("b",)}, nested=True)
    dropbp.Policy(branches, {"outer": 0.2, "inner": 0.4})
    with pytest.raises(ValueError, match="must not fall inwards"):
        dropbp.Policy(branches, {"outer": 0.4, "inner": 0.2})


def test_rates_must_name_the_branches() -> None:
    branches = dropbp.Branches({"a": ("a",), "b": ("b",)})
    with pytest.raises(ValueError, match="differ in b, c"):
        dropbp.Policy(branches, {"a": 0.1, "c": 0.1})
    with pytest.raises(ValueError, match="no branches"):
        dropbp.Policy(dropbp.Branches({}), 0.5)
    with pytest.raises(ValueError, match='"none" or "zero"'):
        dropbp.Policy(branches, 0.5, dropped_gradient="maybe")  # type: ignore[arg-type]


def greedy(sensitivity: Mapping[str, float], rate: float, step: float) -> dict[str, float]:
    """The paper's allocation, for branches of equal cost."""
    steps = dict.fromkeys(sensitivity, 0)
    while sum(steps.values()) * step < rate * len(steps) - 1e-9:
        free = [name for name, n in steps.items() if (n + 1) * step <= MAX_RATE + 1e-9]
        steps[min(free, key=lambda name: sensitivity[name] * (steps[name] + 1) * step)] += 1
    return {name: n * step for name, n in steps.items()}


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.875])
def test_allocation_is_within_a_step_of_the_papers_greedy(rate: float) -> None:
    sensitivity = {f"b{i}": 1 + 0.25 * i for i in range(12)}
    rates = allocate(sensitivity, dict.fromkeys(sensitivity, 3.0), rate)
    for name, wanted in greedy(sensitivity, rate, 0.1).items():
        assert abs(rates[name] - wanted) <= 0.1 + 1e-9


@settings(max_examples=30)
@given(st.lists(positive, min_size=1, max_size=6), st.floats(0, MAX_RATE))
def test_greedy_nears_the_allocation_as_its_step_shrinks(values: list[float], rate: float) -> None:
    sensitivity = {f"b{i}": value for i, value in enumerate(values)}
    rates = allocate(sensitivity, dict.fromkeys(sensitivity, 1.0), rate)
    for name, wanted in greedy(sensitivity, rate, 0.005).items():
        assert abs(rates[name] - wanted) <= 0.005 * (len(values) + 1)


@given(
    st.lists(st.tuples(st.floats(0, 20), positive), min_size=1, max_size=8),
    st.floats(0, MAX_RATE),
    st.booleans(),
)
def test_the_budget_is_spent_and_kept(
    table: list[tuple[float, float]], rate: float, nested: bool
) -> None:
    sensitivity = {f"b{i}": s for i, (s, _) in enumerate(table)}
    compute = {f"b{i}": c for i, (_, c) in enumerate(table)}
    rates = allocate(sensitivity, compute, rate, nested)
    spent = sum(compute[name] * rates[name] for name in rates)
    assert spent == pytest.approx(rate * sum(compute.values()), rel=1e-6, abs=1e-9)
    assert all(0 <= r <= MAX_RATE for r in rates.values())
    if nested:
        assert list(rates.values()) == sorted(rates.values())


@given(
    st.lists(st.tuples(positive, positive), min_size=2, max_size=6),
    st.floats(0.05, MAX_RATE),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_shift_of_the_budget_is_better(
    table: list[tuple[float, float]], rate: float, nested: bool, random: object
) -> None:
    sensitivity = {f"b{i}": s for i, (s, _) in enumerate(table)}
    compute = {f"b{i}": c for i, (_, c) in enumerate(table)}
    rates = allocate(sensitivity, compute, rate, nested)

    def cost(values: Mapping[str, float]) -> float:
        return sum(sensitivity[name] * value**2 / 2 for name, value in values.items())

    for source in rates:
        for target in rates:
            moved = dict(rates)
            moved[source] -= 1e-3 / compute[source]
            moved[target] += 1e-3 / compute[target]
            values = list(moved.values())
            is_allowed = all(0 <= v <= MAX_RATE for v in values)
            if is_allowed and (not nested or values == sorted(values)):
                assert cost(moved) >= cost(rates) - 1e-9


def test_branches_without_sensitivity_go_first() -> None:
    rates = allocate({"a": 0.0, "b": 1.0, "c": 0.0}, dict.fromkeys("abc", 1.0), 0.5)
    assert rates == pytest.approx({"a": 0.75, "b": 0.0, "c": 0.75}, abs=1e-6)
    assert set(allocate({"a": 0.0, "b": 0.0}, {"a": 1, "b": 1}, 0.4).values()) == {0.4}


@pytest.mark.parametrize(
    ("sensitivity", "compute", "rate", "message"),
    [
        ({"a": 1}, {"b": 1}, 0.5, "same names"),
        ({"a": 1}, {"a": 1}, 0.95, "must lie in"),
        ({"a": -1}, {"a": 1}, 0.5, "at least 0"),
        ({"a": float("nan")}, {"a": 1}, 0.5, "at least 0"),
        ({"a": 1}, {"a": 0}, 0.5, "above 0"),
        ({}, {}, 0.5, "no branches"),
    ],
)
def test_bad_tables_are_refused(
    sensitivity: dict[str, float], compute: dict[str, float], rate: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(sensitivity, compute, rate)


class Residual(nn.Module):
    """Two branches of very different weight, with dropout and batch norm to disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.loud = nn.Linear(4, 4)
        self.quiet = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4) to the same."""
        x = self.norm(self.first(x))
        x = x + 10 * self.loud(x)
        return x + 0.001 * self.quiet(x)


@pytest.mark.parametrize("nested", [False, True])
def test_sensitivity_is_the_change_of_gradient_norms_and_leaves_no_trace(nested: bool) -> None:
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(8, 4)
    branches = dropbp.Branches({"loud": ("loud",), "quiet": ("quiet",)}, nested)
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5, rescale=True))

    def loss() -> Tensor:
        return model(x).square().mean()

    def norms(*dropped: str) -> Tensor:
        torch.manual_seed(5)
        with dropping.only(*dropped):
            gradients = torch.autograd.grad(loss(), list(model.parameters()), allow_unused=True)
        return torch.stack([torch.zeros(()) if g is None else g.norm() for g in gradients])

    cut = (norms() - norms("loud", *(["quiet"] if nested else []))).square().sum()
    quiet = (norms() - norms("quiet")).square().sum()
    wanted = {"loud": float(cut - quiet if nested else cut), "quiet": float(quiet)}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state, dropped = torch.get_rng_state(), dropping.dropped
    got = dropbp.sensitivities(dropping, loss)
    assert got == pytest.approx(wanted, rel=1e-4)
    assert got["loud"] > 100 * got["quiet"] > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert dropping.dropped == dropped
    dropping.rates = allocate(got, {"loud": 1.0, "quiet": 1.0}, 0.45, nested)
    assert dropping.rates["quiet"] > dropping.rates["loud"]


def test_sensitivity_of_one_pass_is_what_a_branch_itself_loses() -> None:
    torch.manual_seed(0)
    model, x, calls = Residual(), torch.randn(8, 4), 0
    branches = dropbp.named(model, "loud", "quiet")
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5))

    def loss() -> Tensor:
        nonlocal calls
        calls += 1
        torch.manual_seed(5)
        return model(x).square().mean()

    own = dropbp.sensitivities(dropping, loss, one_pass=True)
    assert calls == 1
    whole = dropbp.sensitivities(dropping, loss)
    with dropping.only():
        loss().backward()
    for name in own:
        gradients = [parameter.grad for parameter in model.get_submodule(name).parameters()]
        energy = sum(g.square().sum() for g in gradients if g is not None)
        assert own[name] == pytest.approx(float(energy), rel=1e-5)
        assert 0 < own[name] <= whole[name] * (1 + 1e-5)
    assert own["quiet"] == pytest.approx(whole["quiet"], rel=0.15)


def test_one_pass_is_refused_for_levels_of_a_u_net() -> None:
    model = Residual()
    branches = dropbp.levels(model, [["loud"], ["quiet"]])
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5))
    with pytest.raises(ValueError, match="leave out one_pass"):
        dropbp.sensitivities(dropping, lambda: model(torch.zeros(2, 4)).sum(), one_pass=True)


def test_sensitivity_needs_training_mode() -> None:
    model = Residual().eval()
    dropping = dropbp.attach(model, dropbp.Policy(dropbp.named(model, "loud"), 0.5))
    with pytest.raises(ValueError, match=r"model\.train"):
        dropbp.sensitivities(dropping, lambda: model(torch.zeros(2, 4)).sum())


def test_operations_are_counted_by_branch() -> None:
    model = Residual()
    counts = dropbp.forward_flops(model, dropbp.named(model, "loud", "quiet"), torch.zeros(3, 4))
    assert counts == {"loud": 2 * 3 * 4 * 4, "quiet": 2 * 3 * 4 * 4}
    assert model.training
    with pytest.raises(ValueError, match="by hand"):
        dropbp.forward_flops(model, dropbp.named(model, "norm"), torch.zeros(3, 4))
