"""Training columns equals training everything with the other gradients set to zero; ranks agree."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partialgrad import PartialAdamW, Rule, check_optimizer, freeze_ops, unwrap, wrap, write
from partialgrad.layers import all_columns, partial_layers


class Net(nn.Module):
    """Convolution, activation, linear; checkpointed if asked."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.body = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Conv1d(6, 5, 3, groups=1))
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Any = self.body(x)
        if self.checkpointed:
            y = checkpoint(self.body, x, use_reentrant=False)
        return self.head(y.mean(2))


RULES = [Rule("head", train="all"), Rule("*", fraction=0.5, bias=True)]


def full_step(
    net: nn.Module, origin: dict[str, Tensor], masks: dict[str, Tensor], state: Any, decay: float
) -> None:
    """AdamW on all parameters, masked, with decay towards the origin: the reference, written out."""
    state["t"] += 1
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad * masks[name]
        m, v = (state.setdefault((kind, name), torch.zeros_like(gradient)) for kind in "mv")
        m.lerp_(gradient, 0.1)
        v.lerp_(gradient.square(), 0.001)
        with torch.no_grad():
            parameter -= 0.01 * decay * (parameter - origin[name])
            unbiased = m / (1 - 0.9 ** state["t"])
            scale = (v / (1 - 0.999 ** state["t"])).sqrt() + 1e-8
            parameter -= 0.01 * masks[name] * unbiased / scale
        parameter.grad = None


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_steps_equal_full_training_of_the_columns(
    accumulation: int, checkpointed: bool, frozen: bool
) -> None:
    torch.manual_seed(0)
    net = Net(checkpointed).double()
    reference = copy.deepcopy(net)
    wrap(net, RULES)
    if frozen:
        freeze_ops(net)
    masks = {n: torch.full_like(p, n.startswith("head")) for n, p in reference.named_parameters()}
    for name, _, columns in all_columns(net):
        masks[name].index_fill_(columns.dim, columns.indices, 1)
    origin = {n: p.detach().clone() for n, p in reference.named_parameters()}
    optimizer, state = PartialAdamW(net, 0.01, weight_decay=0.3), {"t": 0}
    for _ in range(4):
        for _ in range(accumulation):
            x = torch.randn(3, 4, 9, dtype=torch.float64)
            reference(x).square().sum().backward()
            net(x).square().sum().backward()
            with torch.no_grad():
                torch.testing.assert_close(net(x), reference(x), rtol=0, atol=1e-10)
        full_step(reference, origin, masks, state, 0.3)
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in reference.named_parameters():
            torch.testing.assert_close(net.get_parameter(name), parameter, rtol=0, atol=1e-10)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_steps_in_mixed_precision(accumulation: int) -> None:
    torch.manual_seed(0)
    net = Net(False)
    reference, before = copy.deepcopy(net), copy.deepcopy(net)
    wrap(net, [Rule("*", fraction=0.5, bias=True)])
    ours = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.05)
    for _ in range(4):
        for _ in range(accumulation):
            x = torch.randn(8, 4, 9)
            with torch.autocast("cpu", torch.bfloat16):
                losses = [model(x).float().square().mean() for model in (net, reference)]
            for loss in losses:
                loss.backward()
        with torch.no_grad():
            for name, _, columns in all_columns(net):
                full = reference.get_parameter(name)
                assert full.grad is not None
                chosen = full.grad.index_select(columns.dim, columns.indices)
                full.index_add_(columns.dim, columns.indices, chosen, alpha=-0.05)
        ours.step()
        ours.zero_grad()
        reference.zero_grad()
    write(net)
    for name, weight, _ in all_columns(net):
        change = reference.get_parameter(name) - before.get_parameter(name)
        assert change.norm() > 0
        assert (weight - reference.get_parameter(name)).norm() < 1e-3 * change.norm(), name


def test_decay_leads_back_to_the_pretrained_values() -> None:
    torch.manual_seed(0)
    net = Net(False)
    before = copy.deepcopy(net)
    wrap(net, RULES)
    optimizer = PartialAdamW(net, 0.1, weight_decay=1.0)
    net(torch.randn(2, 4, 9)).square().sum().backward()
    optimizer.step()
    distance = [
        (p - q).norm()
        for p, q in zip(net.state_dict().values(), before.state_dict().values(), strict=True)
    ]
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    for group in optimizer.param_groups:
        group["betas"] = (0.0, 0.0)
    for _ in range(40):
        optimizer.step()
    for was, p, q in zip(
        distance, net.state_dict().values(), before.state_dict().values(), strict=True
    ):
        assert (p - q).norm() <= 0.05 * was + 1e-6


def test_closure_and_scheduler_and_state() -> None:
    net = nn.Linear(4, 3)
    wrap(net, [Rule("*", r=2)])
    optimizer = PartialAdamW(net, 0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = net(torch.ones(1, 4)).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[2] < losses[0]
    other = PartialAdamW(net, 0.1)
    other.load_state_dict(optimizer.state_dict())


def test_an_optimizer_from_before() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="call wrap"):
        PartialAdamW(net)
    early = torch.optim.AdamW(net.parameters())
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="after wrap"):
        check_optimizer(net, early)
    optimizer = PartialAdamW(net)
    check_optimizer(net, optimizer)
    unwrap(net)
    with pytest.raises(ValueError, match="not wrapped"):
        optimizer.step()
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="after wrap"):
        optimizer.step()


def _trained(rank: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and the indices of their trained columns."""
    torch.manual_seed(0)
    net = Net(False)
    torch.manual_seed(1 + rank)  # ranks draw different numbers from here on
    wrap(net, [Rule("*", r=2)])
    parallel = nn.parallel.DistributedDataParallel(net)
    optimizer = PartialAdamW(net, 0.1)
    for _ in range(3):
        parallel(torch.randn(2, 4, 9)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict(), {n: c.indices for n, _, c in all_columns(net)}


def test_two_ranks_agree(tmp_path: Path) -> None:
    (state, indices), (other, other_indices) = run_ranks(_trained, tmp_path)
    torch.testing.assert_close(state, other, rtol=0, atol=0)
    torch.testing.assert_close(indices, other_indices, rtol=0, atol=0)
    torch.manual_seed(0)
    assert not torch.equal(state["head.weight"], Net(False).head.weight)
    assert not list(partial_layers(Net(False)))
