"""States that training crops start from: a stream is minutes long, a crop three seconds.

Crops that all start from zeros never show the time GRU the states that it reaches in a long stream, and weights trained
on them alone need a minute to forget ten minutes of silence. So some crops go on from the state in which the last
batch ended, and some from one that rested: minutes of silence, of faint and of loud noise, without end.
"""

import torch
from torch import Tensor

from truenet.config import StartConfig
from truenet.streaming import StreamingTRUNet

RESTING_LEVELS = (0.0, 1e-5, 1e-3, 0.1)  # standard deviation of white noise, full scale is 1


class Starts:
    """Draws the start of every crop; what it holds between steps is in `state_dict`.

    Args:
        config: shares of the three kinds.
        model: gives the sizes; `rest` is told which model to run.
        crops: in a batch.
        seed: draws depend on it and on the step alone.
    """

    def __init__(self, config: StartConfig, model: StreamingTRUNet, crops: int, seed: int) -> None:
        self.config, self.seed = config, seed
        self.ended = model.initial_state(crops)
        self.resting = model.initial_state(len(RESTING_LEVELS))

    def draw(self, step: int) -> Tensor:
        """(crops, state_size): zeros, where the last batch ended, or where a resting stream is."""
        generator = torch.Generator().manual_seed(self.seed + 7919 * step)
        kinds = torch.rand(len(self.ended), generator=generator)
        picked = torch.randint(len(self.resting), (len(self.ended),), generator=generator)
        rested = self.config.rested_share
        states = torch.where(
            (kinds < rested).to(self.ended.device)[:, None],
            self.resting[picked.to(self.ended.device)],
            self.ended,
        )
        fresh = kinds >= rested + self.config.carried_share
        return torch.where(fresh.to(states.device)[:, None], 0.0, states)

    def end(self, states: Tensor) -> None:
        """Keep the states in which a batch ended; one that broke starts anew."""
        whole = states.detach().isfinite().all(dim=1, keepdim=True)
        self.ended = torch.where(whole, states.detach(), 0.0)

    def rest(self, model: StreamingTRUNet, step: int) -> None:
        """Every `rest_steps` steps, let the resting streams go on for `rest_seconds` through `model`."""
        if not self.config.rested_share or step % self.config.rest_steps:
            return
        seed = self.seed + 7919 * step + 1
        self.resting = rested(model, self.resting, self.config.rest_seconds, seed)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {"ended": self.ended, "resting": self.resting}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.ended, self.resting = saved["ended"], saved["resting"]


@torch.no_grad()
def rested(model: StreamingTRUNet, states: Tensor, seconds: float, seed: int) -> Tensor:
    """Where streams of silence, faint and loud noise arrive, one of each of `RESTING_LEVELS`.

    Args:
        states: (streams, state_size) to go on from.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor(RESTING_LEVELS)[:, None]
    a_second = round(model.config.frames_per_second)  # at a time: less memory
    left = round(seconds * model.config.frames_per_second)
    while left > 0:
        samples = min(left, a_second) * model.config.hop_samples
        noise = levels * torch.randn(len(levels), samples, generator=generator)
        _, states = model.parts(noise.to(states), states)
        left -= a_second
    return states
