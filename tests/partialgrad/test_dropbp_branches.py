"""Naming, wrapping and finding branches; a concat-skip U-Net with recurrent bottleneck, cut by depth."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partialgrad import dropbp
from truenet.config import TRUNetConfig
from truenet.network import TRUNet

WIDTH = 4


class Layer(nn.Module):
    """A transformer layer: pre-norm, attention and feed-forward in a row or in parallel."""

    def __init__(self, parallel: bool = False) -> None:
        super().__init__()
        self.norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, WIDTH))
        self.dropout = nn.Dropout(0.1)
        self.parallel = parallel

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, WIDTH) to the same."""
        y = self.norm(x)
        attended = self.dropout(self.attention(y, y, y, need_weights=False)[0])
        if self.parallel:
            return attended + self.feed_forward(y) + x
        x = x + attended
        return x + self.dropout(self.feed_forward(self.second_norm(x)))


class Transformer(nn.Module):
    """Tokens to logits."""

    def __init__(self, parallel: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, WIDTH)
        self.positions = nn.Parameter(torch.zeros(5, WIDTH))
        self.layers = nn.ModuleList(Layer(parallel) for _ in range(2))
        self.head = nn.Linear(WIDTH, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, 5) to (batch, 5, 7)."""
        x = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class ConvNet(nn.Module):
    """An outer residual connection around an inner one, and one that is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {"a": nn.Conv1d(2, 2, 3, padding=1), "norm": nn.BatchNorm1d(2), "b": nn.Conv1d(2, 2, 1)}
        )
        self.left, self.right = nn.Conv1d(2, 2, 1), nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 2, time) to the same."""
        inner = F.relu(self.body["norm"](self.body["a"](x)))
        inner = inner + self.body["b"](inner)
        return self.left(inner) + self.right(inner)


TOKENS = torch.arange(10).reshape(2, 5) % 7


@pytest.mark.parametrize(
    ("build", "example", "wanted"),
    [
        (
            Transformer,
            TOKENS,
            {
                f"layers.{i}.{last}": (f"layers.{i}.{norm}", f"layers.{i}.{last}")
                for i in range(2)
                for norm, last in (("norm", "attention"), ("second_norm", "feed_forward"))
            },
        ),
        (
            lambda: Transformer(parallel=True),
            TOKENS,
            {
                f"layers.{i}.{last}": (f"layers.{i}.{last}",)
                for i in range(2)
                for last in ("attention", "feed_forward")
            },
        ),
        (ConvNet, torch.zeros(1, 2, 8), {"body.b": ("body.b",)}),
    ],
)
def test_residual_branches_are_found(
    build: Callable[[], nn.Module], example: Tensor, wanted: dict[str, tuple[str, ...]]
) -> None:
    model = build().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    assert dropbp.found(model, example) == dropbp.Branches(wanted)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_found_branches_are_bypassed() -> None:
    model = Transformer()
    branches = dropbp.found(model, TOKENS)
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5))
    with dropping.only(*branches.modules):
        model(TOKENS).sum().backward()
    assert model.embedding.weight.grad is not None
    assert all(parameter.grad is None for parameter in model.layers.parameters())


def test_norms_may_stay_outside_a_named_branch() -> None:
    model = Transformer()
    branches = dropbp.named(model, "layers.*.attention", "layers.*.feed_forward")
    assert len(branches.modules) == 4
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5))
    with dropping.only(*branches.modules):
        model(TOKENS).sum().backward()
    assert model.embedding.weight.grad is not None


def test_a_chain_has_no_branches() -> None:
    with pytest.raises(ValueError, match=r"dropbp\.Branch"):
        dropbp.found(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2))


class Wrapped(nn.Module):
    """A branch that is no module, marked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.branch = dropbp.Branch(self._branch)

    def _branch(self, x: Tensor) -> Tensor:
        return (self.weight * x).sin()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape ending in 2."""
        return x + self.branch(x)


def test_marked_branches() -> None:
    model = Wrapped()
    assert list(model.state_dict()) == ["weight"]
    dropping = dropbp.attach(model, dropbp.Policy(dropbp.wrapped(model), 0.5))
    x = torch.ones(2, requires_grad=True)
    with dropping.only("branch"):
        model(x).sum().backward()
    assert model.weight.grad is None
    assert torch.equal(x.grad, torch.ones(2))
    with pytest.raises(ValueError, match="wrapped in"):
        dropbp.wrapped(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["layers.*.atention"], r"nearest names are .*attention"),
        (["layers"], "never called"),
        (["layers.0", "layers.*.attention"], "overlap"),
    ],
)
def test_names_that_cannot_be_dropped(patterns: list[str], message: str) -> None:
    model = Transformer()
    with pytest.raises(ValueError, match=message):
        dropbp.attach(model, dropbp.Policy(dropbp.named(model, *patterns), 0.5))


def trunet() -> tuple[TRUNet, dropbp.Branches, tuple[Tensor, Tensor]]:
    """Our network, what each of its skips bypasses, and an input."""
    torch.manual_seed(0)
    config = TRUNetConfig()
    model = TRUNet(config, 4)
    shells = [[f"encoder.{i}", f"decoder.{4 - i}"] for i in range(4)]
    deepest = ["encoder.4", "frequency_gru", "time_gru", "decoder.0"]
    bins = 256
    for stride in config.encoder_strides:
        bins //= stride
    inputs = torch.randn(1, 2, 256, 4), torch.zeros(1, bins, config.time_gru_units)
    return model, dropbp.levels(model, [*shells, deepest]), inputs


def test_levels_may_repeat_what_is_deeper() -> None:
    model, branches, _ = trunet()
    shells = list(branches.modules.values())
    repeated = [
        [shell[0], *(name for deeper in shells[i + 1 :] for name in deeper), *shell[1:]]
        for i, shell in enumerate(shells)
    ]
    assert dropbp.levels(model, repeated) == branches
    with pytest.raises(ValueError, match="outermost to the deepest"):
        dropbp.levels(model, repeated[::-1])


def test_a_u_net_is_cut_at_one_depth() -> None:
    model, branches, inputs = trunet()
    wanted, _ = model(*inputs)
    dropping = dropbp.attach(
        model,
        dropbp.Policy(
            branches, dict(zip(branches.modules, (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))
        ),
    )
    saved_before = float("inf")
    for depth in reversed(range(5)):
        dropping.step = next(s for s in range(1000) if len(drawn(dropping, s)) == 5 - depth)
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.nbytes
            return tensor

        model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            logits, _ = model(*inputs)
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
        assert saved < saved_before
        saved_before = saved
        logits.square().mean().backward()
        deeper = [name for level in list(branches.modules.values())[depth:] for name in level]
        for name, parameter in model.named_parameters():
            is_cut = any(name.startswith(f"{module}.") for module in deeper)
            assert (parameter.grad is None) == is_cut, name


def test_rates_of_a_u_net_from_sensitivity_and_computation() -> None:
    model, branches, inputs = trunet()
    compute = dropbp.forward_flops(model, branches, *inputs)
    dropping = dropbp.attach(model, dropbp.Policy(branches, 0.5))
    sensitivity = dropbp.sensitivities(dropping, lambda: model(*inputs)[0].square().mean())
    dropping.rates = dropbp.allocate(sensitivity, compute, 0.5, branches.nested)
    spent = sum(compute[name] * rate for name, rate in dropping.rates.items())
    assert spent == pytest.approx(0.5 * sum(compute.values()))


def drawn(dropping: dropbp.DropBP, step: int) -> frozenset[str]:
    """What a step would drop."""
    return dropbp.draw(dropping.rates, dropping.policy.seed, step, nested=True)


class UNet(nn.Module):
    """Two levels, double precision, smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inside, self.up, self.last = (
            nn.Linear(n, 2, dtype=torch.float64) for n in (2, 2, 4, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 2) to the same."""
        outer = x.tanh()
        inner = self.down(outer).tanh()
        y = self.up(torch.cat([self.inside(inner).tanh(), inner], dim=1)).tanh()
        return self.last(torch.cat([y, outer], dim=1))


def test_a_rescaled_u_net_has_the_whole_gradient_on_average() -> None:
    """The mean over the three depths, weighted by their probabilities, is exact."""
    torch.manual_seed(0)
    model, x = UNet(), torch.randn(3, 2, dtype=torch.float64)
    branches = dropbp.levels(model, [["down", "up"], ["inside"]])
    rates = {"level 0": 0.25, "level 1": 0.75}

    def gradients() -> list[Tensor]:
        model.zero_grad(set_to_none=False)
        model(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    whole = gradients()
    dropping = dropbp.attach(model, dropbp.Policy(branches, rates, rescale=True))
    mean = [torch.zeros_like(g) for g in whole]
    for share, count in ((0.25, 0), (0.5, 1), (0.25, 2)):
        dropping.step = next(s for s in range(100) if len(drawn(dropping, s)) == count)
        mean = [m + share * g for m, g in zip(mean, gradients(), strict=True)]
    torch.testing.assert_close(mean, whole)
