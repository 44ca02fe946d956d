"""Losses of the crops of a step, one by one, and other targets for some."""

import torch
from torch import Tensor

from truenet.config import LossConfig
from truenet.losses import part_losses
from truenet.mixing import Mixture
from truenet.streaming import StreamingTRUNet
from truenet.training_step import estimate_parts


def crop_losses(
    model: StreamingTRUNet, mixture: Mixture, config: LossConfig, starts: Tensor | None = None
) -> Tensor:
    """(crops,) the loss of each crop by itself; `starts` (crops, state_size) as in `estimate_parts`."""
    parts = torch.stack([mixture.voice, mixture.room, mixture.noise])
    whole = mixture.mixture
    if model.stft.window.dtype != whole.dtype:
        parts, whole = parts.to(model.stft.window.dtype), whole.to(model.stft.window.dtype)
    estimates, _ = estimate_parts(model, whole, starts)
    return torch.stack(
        [
            part_losses(
                estimates[:, i : i + 1], parts[:, i : i + 1], whole[i : i + 1], config
            ).total
            for i in range(len(whole))
        ]
    )


@torch.no_grad()
def watched_loss(model: StreamingTRUNet, mixture: Mixture, config: LossConfig) -> float:
    """The mean over the crops, without a gradient."""
    return crop_losses(model, mixture, config).mean().item()


def with_targets(mixture: Mixture, parts: Tensor) -> Mixture:
    """The crops, the first ones with other targets.

    Args:
        mixture: (crops, samples) each.
        parts: (3, first crops, samples), voice, room and noise.
    """
    own = (mixture.voice, mixture.room, mixture.noise)
    count = parts.shape[1]
    targets = (torch.cat([new, old[count:].to(new)]) for new, old in zip(parts, own, strict=True))
    return Mixture(mixture.mixture, *targets)
