"""Trained columns and dropped branches at once: forward unchanged, gradient that of the detached graph."""

import pytest
import torch
from torch import Tensor, nn

import partialgrad as pg
from partialgrad import dropbp


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Residual(), Residual(), Residual()).double().train()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


@pytest.mark.parametrize("wrap_first", [True, False])
def test_wrapped_columns_in_dropped_branches(wrap_first: bool) -> None:
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rules = [pg.Rule("*", r=3, types=(nn.Linear,))]
    reference = make()
    pg.wrap(reference, rules)
    h = reference[0](x)
    h = h + reference[1].inner(h).detach()  # what dropping the middle branch means
    expected_output = reference[2](h)
    expected_output.square().sum().backward()
    expected = gradients(reference)

    model = make()
    if wrap_first:
        pg.wrap(model, rules)
    branches = dropbp.named(model, "*.inner")
    dropping = dropbp.attach(model, dropbp.Policy(branches, rates=0.5))
    if not wrap_first:
        pg.wrap(model, rules)
    while dropping.dropped != {"1.inner"}:
        dropping.step += 1
        assert dropping.step < 1000
    output = model(x)
    assert torch.equal(output, expected_output)
    output.square().sum().backward()
    found = {name: g for name, g in gradients(model).items() if g.abs().sum() > 0}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12)


def test_a_step_that_drops_all_that_is_trained() -> None:
    """It learns nothing, and is no error."""
    model, x = make(), torch.randn(5, 6, dtype=torch.float64)
    expected = model(x).detach()
    pg.wrap(model, [pg.Rule("*", r=3, types=(nn.Linear,))])
    dropping = dropbp.attach(model, dropbp.Policy(dropbp.named(model, "*.inner"), rates=0.9))
    optimizer = pg.PartialAdamW(model, weight_decay=0.1)
    dropping.follow(optimizer)
    with dropping.only(*dropping.rates):
        output = model(x)
        assert torch.equal(output, expected)
        output.square().sum().backward()
        optimizer.step()
    assert not gradients(model)
    assert torch.equal(model.eval()(x), expected)
    model.requires_grad_(False).train()
    assert not model(x).requires_grad
