"""States that the crops of an adaptation start from, as in the base's training (truenet/starts.py).

There crops go on from the last batch; here a stopped run must go on to the bit and processes must be able to share a
step's crops, so the states are reached once by the base, before the first step, and drawn from then on.
"""

import dataclasses

import torch
from torch import Tensor

from truenet.config import StartConfig
from truenet.starts import RESTING_LEVELS, rested
from truenet.streaming import StreamingTRUNet
from truenet_apps.adapt_domains import Mixes

_TALKING_CROPS = 4


@dataclasses.dataclass(frozen=True)
class Bank:
    """Two sets of states (rows, state_size): of streams in the place, and of streams in which nobody talks."""

    carried: Tensor
    resting: Tensor
    config: StartConfig
    seed: int

    def draw(self, step: int, crop: int) -> Tensor:
        """(1, state_size) the start of a crop; zeros for the start of a stream."""
        generator = torch.Generator().manual_seed(self.seed + 7919 * step + 104_729 * crop)
        kind, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        rested = self.config.rested_share
        if kind >= rested + self.config.carried_share:
            return torch.zeros_like(self.carried[:1])
        states = self.resting if kind < rested else self.carried
        row = int(place * len(states))
        return states[row : row + 1]


@torch.no_grad()
def fill(model: StreamingTRUNet, mixes: Mixes, config: StartConfig, seed: int) -> Bank:
    """Run the base through crops of a domain, and through silence and noise for `rest_seconds`."""
    hop = model.config.hop_samples
    crops = mixes.batch(0, _TALKING_CROPS).mixture
    fresh = model.initial_state(len(crops))
    _, carried = model.parts(crops[:, : crops.shape[1] // hop * hop].to(fresh), fresh)
    resting = rested(model, model.initial_state(len(RESTING_LEVELS)), config.rest_seconds, seed)
    return Bank(carried, resting, config, seed)
