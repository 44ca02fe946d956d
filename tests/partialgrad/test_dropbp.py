"""DropBP at work: forward untouched, gradients of the detached graph, nothing saved, nothing left behind."""

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partialgrad import dropbp

WIDTH = 4
HALF = "branches.*"


class Stack(nn.Module):
    """Residual branches in a row; `cut` and `factors` are the reference: detached and scaled by hand."""

    def __init__(self, branches: list[nn.Module], reentrant: bool | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.branches = nn.ModuleList(branches)
        self.reentrant = reentrant
        self.cut: frozenset[str] = frozenset()
        self.factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, WIDTH) to the same."""
        x = self.first(x)
        for i, branch in enumerate(self.branches):
            x = self._maybe_recomputed(partial(self._block, f"branches.{i}", branch), x)
        return x

    def _maybe_recomputed(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.reentrant is None:
            return block(x)
        return checkpoint(block, x, use_reentrant=self.reentrant)

    def _block(self, name: str, branch: nn.Module, x: Tensor) -> Tensor:
        y = branch(x)
        y = y[0] if isinstance(y, tuple) else y
        if name in self.cut:
            return x + y.detach()
        return x + self.factor * y + (1 - self.factor) * y.detach()


def feed_forward() -> nn.Module:
    """A branch."""
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, WIDTH))


@pytest.fixture
def model() -> Stack:
    """Four branches, float64, training."""
    torch.manual_seed(0)
    return Stack([feed_forward() for _ in range(4)]).double()


@pytest.fixture
def x() -> Tensor:
    """A batch of three."""
    return torch.randn(3, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """Any loss."""
    return model(x).sin().square().mean()


def gradients(model: nn.Module, x: Tensor) -> list[Tensor | None]:
    """Gradients of all parameters."""
    model.zero_grad()
    loss_of(model, x).backward()
    return [parameter.grad for parameter in model.parameters()]


def assert_same(left: list[Tensor | None], right: list[Tensor | None]) -> None:
    """Equal to rounding, and absent in the same places."""
    torch.testing.assert_close(
        [torch.empty(0) if g is None else g for g in left],
        [torch.empty(0) if g is None else g for g in right],
    )


def policy(model: nn.Module, rates: float = 0.5, **options: Any) -> dropbp.Policy:
    """A policy for all branches of a stack."""
    return dropbp.Policy(dropbp.named(model, HALF), rates, **options)


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("rescale", [False, True])
def test_gradients_are_those_of_the_detached_graph(
    model: Stack, x: Tensor, step: int, rescale: bool
) -> None:
    reference = copy.deepcopy(model)
    dropping = dropbp.attach(model, policy(model, rescale=rescale))
    dropping.step = step
    reference.cut, reference.factor = dropping.dropped, 2.0 if rescale else 1.0
    assert len(dropping.dropped) == 2
    assert_same(gradients(model, x), gradients(reference, x))


@pytest.mark.parametrize("prepare", ["rate 0", "evaluation", "detached"])
def test_without_drops_nothing_changes(model: Stack, x: Tensor, prepare: str) -> None:
    wanted = gradients(copy.deepcopy(model), x)
    dropping = dropbp.attach(model, policy(model, 0.0 if prepare == "rate 0" else 0.5))
    if prepare == "evaluation":
        model.eval()
    if prepare == "detached":
        dropping.detach()
    assert_same(gradients(model, x), wanted)


@pytest.mark.parametrize(
    "branch",
    [
        feed_forward,
        lambda: nn.Sequential(nn.Conv1d(5, 5, 3, padding=1), nn.BatchNorm1d(5), nn.SiLU()),
        lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.PReLU(), nn.Dropout(0.5)),
        lambda: nn.GRU(WIDTH, WIDTH, batch_first=True),
        lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True),
        lambda: nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True),
    ],
)
def test_the_forward_pass_is_unchanged_and_saves_nothing(
    branch: Callable[[], nn.Module], x: Tensor
) -> None:
    plain = Stack([branch()]).double()
    model = copy.deepcopy(plain)
    dropping = dropbp.attach(model, policy(model))
    saved: list[Tensor] = []
    torch.manual_seed(3)
    wanted = plain(x)
    entry = model.first(x)
    torch.manual_seed(3)
    with (
        dropping.only("branches.0"),
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
    ):
        result = model._block("branches.0", model.branches[0], entry)
        assert not saved
        torch.manual_seed(3)
        torch.testing.assert_close(model(x), wanted, rtol=1e-12, atol=1e-12)
    assert result.requires_grad
    for name, buffer in model.named_buffers():
        assert "num_batches" in name or not torch.equal(buffer, torch.zeros_like(buffer))


def test_plain_operators_are_unchanged_to_the_bit(model: Stack, x: Tensor) -> None:
    wanted = model(x)
    with dropbp.attach(model, policy(model)).only(*dropbp.named(model, HALF).modules):
        assert torch.equal(model(x), wanted)


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_drops_the_same(model: Stack, x: Tensor, reentrant: bool) -> None:
    dropbp.attach(model, policy(model))
    wanted = gradients(model, x)
    model.reentrant = reentrant
    assert_same(gradients(model, x), wanted)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_accumulated_batches_share_one_draw(model: Stack, x: Tensor, micro_batches: int) -> None:
    dropping = dropbp.attach(model, policy(model))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dropping.follow(optimizer)
    reference = copy.deepcopy(model)
    other = torch.optim.SGD(reference.parameters(), 0.1)
    for step in range(3):
        dropbp.attached(reference).step = step
        gradients(reference, x)
        other.step()
        optimizer.zero_grad()
        for part in x.chunk(micro_batches):
            (loss_of(model, part) / micro_batches).backward()
        optimizer.step()
    assert dropping.step == 3
    assert_same(list(model.parameters()), list(reference.parameters()))


@pytest.mark.parametrize("choice", ["none", "zero"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_no_gradient_or_zero_gradient(
    model: Stack, x: Tensor, choice: Any, set_to_none: bool
) -> None:
    dropping = dropbp.attach(model, policy(model, dropped_gradient=choice))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.1)
    with dropping.only():
        loss_of(model, x).backward()
        optimizer.step()
    dropping.follow(optimizer)
    optimizer.zero_grad(set_to_none=set_to_none)
    dropped = dropping.dropped
    before = copy.deepcopy(model.state_dict())
    loss_of(model, x).backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        frozen = choice == "none" and ".".join(name.split(".")[:2]) in dropped
        assert torch.equal(value, before[name]) == frozen


def test_a_weight_shared_with_a_kept_branch_keeps_its_gradient(x: Tensor) -> None:
    model = Stack([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
    model.branches[1].weight = model.branches[0].weight
    dropping = dropbp.attach(model, policy(model, dropped_gradient="none"))
    with dropping.only("branches.0"), torch.autocast("cpu", torch.bfloat16):
        loss_of(model, x.float()).backward()
        dropping.settle_gradients()
    assert model.branches[0].weight.grad is not None
    assert model.branches[0].weight.grad.any()
    assert model.branches[0].bias.grad is None


def test_a_dropped_branch_leaves_nothing_in_the_cache_of_autocast() -> None:
    """Old releases of torch would hand its half-precision weights, made without gradient, to other users."""
    seen = []
    model = Stack([dropbp.Branch(lambda x: seen.append(torch.is_autocast_cache_enabled()) or x)])
    dropping = dropbp.attach(model, policy(model))
    with dropping.only("branches.0"), torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(1, 5, WIDTH))
        assert torch.is_autocast_cache_enabled()
    assert seen == [False]


def test_mixed_precision_skips_no_draw(model: Stack, x: Tensor) -> None:
    model, x = model.float(), x.float()
    dropping = dropbp.attach(model, policy(model))
    optimizer = torch.optim.AdamW(model.parameters())
    dropping.follow(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for scale, step in [(1.0, 1), (float("inf"), 1), (1.0, 2)]:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, x) * scale
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert dropping.step == step


def test_a_copy_draws_for_itself(model: Stack, x: Tensor) -> None:
    dropping = dropbp.attach(model, policy(model))
    dropping.follow(torch.optim.SGD(model.parameters(), 0.1))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other = dropbp.attached(twin)
        assert other is not dropping
        assert_same(gradients(twin, x), gradients(model, x))
        other.step = next(s for s in range(1, 9) if dropped_at(other, s) != dropping.dropped)
        assert [g is None for g in gradients(twin, x)] != [g is None for g in gradients(model, x)]
        other.detach()
        assert None not in gradients(twin, x)
        assert dropbp.attached(model) is dropping


def dropped_at(dropping: dropbp.DropBP, step: int) -> frozenset[str]:
    """What would be dropped in a step."""
    return dropbp.draw(dropping.rates, dropping.policy.seed, step)


def test_detach_restores_the_model(model: Stack, x: Tensor) -> None:
    keys, names = list(model.state_dict()), {n: set(vars(m)) for n, m in model.named_modules()}
    own = model.branches[1].forward
    model.branches[1].forward = own  # as some libraries leave it
    names["branches.1"].add("forward")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dropping = dropbp.attach(model, policy(model))
    dropping.follow(optimizer)
    assert list(model.state_dict()) == keys
    dropping.detach()
    assert names == {n: set(vars(m)) for n, m in model.named_modules()}
    assert model.branches[1].forward == own
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    loss_of(model, x).backward()
    optimizer.step()
    assert dropping.step == 0
    dropbp.attach(model, policy(model))


def test_a_resumed_run_goes_on_as_if_never_stopped(model: Stack) -> None:
    dropping = dropbp.attach(model, policy(model))
    dropping.rates, dropping.step = {f"branches.{i}": 0.2 * i for i in range(4)}, 11
    resumed = copy.deepcopy(model)
    dropbp.attached(resumed).detach()
    other = dropbp.attach(resumed, policy(resumed))
    other.load_state_dict(dropping.state_dict())
    assert other.dropped == dropping.dropped
    assert other.rates == dropping.rates


def test_gradients_are_unbiased_when_rescaled(model: Stack, x: Tensor) -> None:
    """Four branches at 1/2 and one draw of two of them: the mean over many steps nears the whole gradient."""
    whole = gradients(copy.deepcopy(model), x)[-1]
    dropping = dropbp.attach(model, policy(model, rescale=True))
    total = torch.zeros_like(whole)
    for step in range(400):
        dropping.step = step
        gradient = gradients(model, x)[-1]
        total += 0 if gradient is None else gradient
    torch.testing.assert_close(total / 400, whole, rtol=0.2, atol=0.0)


def test_an_error_in_a_dropped_branch_leaves_gradients_on(model: Stack) -> None:
    dropping = dropbp.attach(model, policy(model))
    with dropping.only("branches.0"), pytest.raises(RuntimeError):
        model.branches[0](torch.zeros(1, WIDTH + 1))
    assert torch.is_grad_enabled()


def test_a_compiled_model_drops_the_same(model: Stack, x: Tensor) -> None:
    dropping = dropbp.attach(model, policy(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        compiled = torch.compile(model, backend="eager")
        for step in range(3):
            dropping.step = step
            got = gradients(compiled, x)
            assert_same(got, gradients(model, x))
    torch.compiler.reset()


def test_forcing_an_unknown_branch_is_refused(model: Stack) -> None:
    dropping = dropbp.attach(model, policy(model))
    with (
        pytest.raises(ValueError, match=r"no branch is called branches\.9"),
        dropping.only("branches.9"),
    ):
        pass


def test_attaching_twice_says_what_to_do(model: Stack) -> None:
    dropbp.attach(model, policy(model))
    with pytest.raises(ValueError, match="detach"):
        dropbp.attach(model, policy(model))


def test_detaching_under_another_replacement_is_refused(model: Stack) -> None:
    dropping = dropbp.attach(model, policy(model))
    model.branches[0].forward = model.branches[0].forward.__call__
    with pytest.raises(ValueError, match="undo that first"):
        dropping.detach()
    assert dropbp.attached(model) is dropping


@pytest.mark.parametrize("rate", [-0.1, 0.91, 1.0, float("nan")])
def test_rates_outside_the_range_are_refused(model: Stack, rate: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        dropbp.attach(model, policy(model, rate))
    dropping = dropbp.attach(model, policy(model))
    with pytest.raises(ValueError, match="must lie in"):
        dropping.rates = dict.fromkeys(dropping.rates, rate)


def test_a_branch_that_nothing_bypasses_is_refused(x: Tensor) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1))
    branches = dropbp.named(model, "1")
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.9))
    with dropping.only("1"), pytest.raises(ValueError, match="no skip connection bypasses 1"):
        model(x.float())


def test_a_shared_weight_is_not_a_bypass() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, WIDTH)
            self.middle = nn.Linear(WIDTH, WIDTH)

        def forward(self, tokens: Tensor) -> dict[str, Tensor]:
            return {"logits": self.middle(self.embedding(tokens)) @ self.embedding.weight.T}

    model = Tied()
    dropping = dropbp.attach(model, dropbp.Policy(dropbp.named(model, "middle"), 0.5))
    with dropping.only("middle"), pytest.raises(ValueError, match="middle"):
        model(torch.arange(5))
