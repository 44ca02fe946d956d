"""A step's gradients: clipped together, and zero where the loss broke."""

import torch
from torch import Tensor, nn

from truenet.gradients import gradients


class Scaled(nn.Module):
    """As a TrainingStep: its loss is the weight times the mixture's sum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(
        self, mixture: Tensor, parts: Tensor, start: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        total = (self.weight * mixture.sum(0)).sum()
        return total, {"all": total.detach()}, start + 1


def found(mixture: Tensor, largest_norm: float) -> tuple[Scaled, Tensor]:
    step = Scaled()
    step.weight.grad = torch.full((2,), 7.0)  # of the step before
    norm = gradients(step, largest_norm, mixture, torch.zeros(3), torch.zeros(1)).norm
    assert step.weight.grad is not None
    return step, norm


def test_the_norm_is_told_and_held() -> None:
    step, norm = found(torch.tensor([[30.0, 40.0]]), 5.0)
    torch.testing.assert_close(norm, torch.tensor(50.0))
    torch.testing.assert_close(step.weight.grad, torch.tensor([3.0, 4.0]))


def test_small_gradients_stay() -> None:
    step, _ = found(torch.tensor([[0.3, 0.4]]), 5.0)
    torch.testing.assert_close(step.weight.grad, torch.tensor([0.3, 0.4]))


def test_a_broken_batch_has_no_gradient() -> None:
    for broken in (float("nan"), float("inf")):
        step, norm = found(torch.tensor([[broken, 1.0]]), 5.0)
        assert not norm.isfinite()
        torch.testing.assert_close(step.weight.grad, torch.zeros(2))
