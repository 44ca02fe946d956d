"""PyTorch's transformer encoders run a fused kernel on the weights of their linear layers, without calling these.

In evaluation, that is, and where nothing they know of is trained: then trained columns would be missed.
"""

from typing import Any

import torch
from torch import nn

from partialgrad.classes import Mixin, add_mixin, remove_mixin


class CallsItsLayers(Mixin):
    """A transformer encoder that does without its fused kernel."""

    layer_order = 3

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the module's own."""
        enabled = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return super().forward(*args, **kwargs)
        finally:
            torch.backends.mha.set_fastpath_enabled(enabled)


def leave_fast_path(model: nn.Module, changed: type[nn.Module]) -> None:
    """Have encoders that contain a module of this type call their layers."""
    encoders = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
    for module in [module for module in model.modules() if isinstance(module, encoders)]:
        if any(isinstance(inner, changed) for inner in module.modules()):
            add_mixin(module, CallsItsLayers)


def take_fast_path(model: nn.Module) -> None:
    """Undo `leave_fast_path`."""
    for module in model.modules():
        remove_mixin(module, CallsItsLayers)
