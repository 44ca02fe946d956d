"""Mixtures to estimates to the loss that is trained on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from truenet.config import TrainingConfig
from truenet.losses import part_losses
from truenet.streaming import StreamingTRUNet


class TrainingStep(nn.Module):
    """Mixtures to their loss: the module that is replicated over processes."""

    def __init__(self, model: StreamingTRUNet, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(
        self, mixture: Tensor, parts: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """mixture (batch, samples), parts (3, batch, samples) to the total loss, its terms and the state at the end."""
        estimates, end = estimate_parts(self.model, mixture, start)
        return *part_losses(estimates, parts, mixture, self.config.loss), end


def estimate_parts(
    model: StreamingTRUNet, mixture: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Voice, room and noise (3, batch, samples) of mixtures (batch, samples), aligned with them, and the last state.

    Args:
        start: (batch, state_size); None is the start of a stream.
    """
    hop, latency = model.config.hop_samples, model.config.latency_samples
    crops, samples = mixture.shape
    padding = latency + -(samples + latency) % hop
    padded = nn.functional.pad(mixture, (0, padding))
    estimates, end = model.parts(padded, model.initial_state(crops) if start is None else start)
    return estimates[..., latency : latency + samples], end


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Gradients through hundreds of frames become denormal, which made steps ten times as long."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
