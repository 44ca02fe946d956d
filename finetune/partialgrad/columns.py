"""The trained columns of one weight: a difference to the pretrained values, and how it gets into the weight.

The difference is the parameter (32 bits for weights of fewer, where a small step would vanish in rounding). Weight
decay of any optimizer therefore pulls towards the pretrained values. The weight itself holds original + difference
("live"), so the forward pass is that of the plain layer. Where the weight must not be touched (shared with another
layer, sharded, quantized) it stays as it is and the layer adds a side branch. What is sharded after it was given
columns goes over to that at its optimizer's first step.
"""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partialgrad.sharding import average, is_sharded, put_columns


@dataclass(frozen=True)
class Grid:
    """Values that a weight may have: whole numbers up to ±largest, times scales that broadcast to its chosen part."""

    scales: Tensor
    largest: int


class Columns(nn.Module):
    """Chosen indices of a weight along one dimension.

    Attributes:
        delta: trained value minus pretrained value, of the shape of the chosen part of the weight.
        indices: (r,) where it goes along `dim` of the weight.
        channels: the channels of the layer's input that the chosen columns see (of a bias, none).
        original: the pretrained values of the chosen part; None where the weight is not touched.
        grid: if given, what goes into the weight is rounded to it.
        enabled: whether the trained values are in use.
        mesh: the ranks that share a weight which was sharded before: its gradients are averaged over them.
    """

    delta: nn.Parameter
    indices: Tensor
    channels: Tensor
    original: Tensor | None
    grid: "Grid | None" = None

    def __init__(
        self,
        weight: Tensor,
        indices: Tensor,
        dim: int,
        channels: Tensor | None = None,
        live: bool = True,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.enabled = True
        indices = indices.to(weight.device)
        shape = [len(indices) if d == dim else size for d, size in enumerate(weight.shape)]
        precision = torch.promote_types(weight.dtype, torch.float32)
        self.delta = nn.Parameter(torch.zeros(shape, dtype=precision, device=weight.device))
        self.mesh = getattr(weight, "device_mesh", None)
        self.register_buffer("indices", indices, persistent=False)
        channels = indices[:0] if channels is None else channels.to(weight.device)
        self.register_buffer("channels", channels, persistent=False)
        chosen = weight.detach().index_select(dim, indices) if live else None
        self.register_buffer("original", chosen, persistent=False)
        self._written: int | None = self.delta._version
        self._touched = False
        self._watched: weakref.ref[Tensor] | None = None  # itself it would be one more parameter

    def values(self) -> Tensor:
        """Pretrained plus difference, in the precision of the difference; on the grid if there is one."""
        assert self.original is not None
        if self.grid is not None:
            return self.original.to(self.delta.dtype) + self.steps() * self.grid.scales
        return self.original.to(self.delta.dtype) + self.delta.detach()

    def steps(self) -> Tensor:
        """How many whole steps of its grid every value has moved, at most 127."""
        assert self.original is not None
        assert self.grid is not None
        scales, largest = self.grid.scales, self.grid.largest
        start = (self.original / scales).round()
        moved = ((self.original + self.delta.detach()) / scales).round().clamp(-largest, largest)
        return (moved - start).clamp(-127, 127)

    @torch.no_grad()
    def write(self, weight: Tensor) -> None:
        """Bring the weight up to date if the difference has changed, or may have, since it was last written.

        Some optimizers (PyTorch's fused ones, those that write to `.data`) change a parameter without counting a
        version. So every gradient is taken to announce a change, written where autograd does not see it: to a
        backward pass still under way, the same values do no harm.
        """
        self._leave_sharded(weight)
        self._watch()
        if self.original is None or not self.enabled:
            return
        counted = self._written != self.delta._version
        pending = self.delta.grad is not None
        if counted or self._touched or pending:
            target = weight if counted else weight.data
            target.index_copy_(self.dim, self.indices, self.values().to(weight.dtype))
            self._written, self._touched = self.delta._version, pending

    def _leave_sharded(self, weight: Tensor) -> None:
        """A weight that was sharded since gets its pretrained values back, and from now on a side branch."""
        if self.original is not None and is_sharded(weight):
            put_columns(weight, self.dim, self.indices, self.original)
            self.original = None

    def _watch(self) -> None:
        needed = self.original is not None or self.mesh is not None
        known = self._watched is not None and self._watched() is self.delta
        if needed and not known and self.delta.requires_grad:
            self.delta.register_post_accumulate_grad_hook(self._touch)
            self._watched = weakref.ref(self.delta)

    def _touch(self, delta: Tensor) -> None:
        self._touched = True
        if self.mesh is not None and delta.grad is not None:
            average(delta.grad, self.mesh)

    @torch.no_grad()
    def switch(self, weight: Tensor, enabled: bool) -> None:
        """Put the trained values into the weight, or the pretrained ones, exactly."""
        self.enabled = enabled
        self._written = None
        self._leave_sharded(weight)
        if enabled:
            self.write(weight)
        elif self.original is not None:
            weight.index_copy_(self.dim, self.indices, self.original)

    @torch.no_grad()
    def read(self, weight: Tensor) -> bool:
        """Take over a weight that was loaded: its values count as trained, the originals stay.

        Returns:
            False if it cannot be: trained values are not in use.
        """
        if self.original is None:
            return True
        loaded = weight.index_select(self.dim, self.indices)
        if not self.enabled:
            return torch.equal(loaded, self.original)
        if not torch.equal(
            loaded, self.values().to(loaded.dtype)
        ):  # or a finer difference would be rounded
            self.delta.copy_(loaded.to(self.delta.dtype) - self.original.to(self.delta.dtype))
        self._written = self.delta._version
        return True

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moved or cast with the model, but the difference stays in 32 bits."""
        delta = self.delta.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.delta.dtype.itemsize < torch.float32.itemsize:
            self.delta.data = delta.to(self.delta.device)
            self.delta.grad = None
        self._written = None
        return self

    def __getstate__(self) -> dict[str, Any]:
        """A copy has neither the counted versions nor the hook: let it write again."""
        return self.__dict__ | {"_written": None, "_watched": None}

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: a state dict keeps the keys of the model as it was."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the layer reads its weight after loading."""
