"""LoRA (arXiv 2106.09685) on weights of any shape, as a baseline: W + B A, with W as (outputs, everything else).

The product is written into the weight before every pass and the factors' gradients are taken from the weight's: the
same numbers as with a side branch, for convolutions of any kind and recurrent layers alike. It keeps every layer's
input for the backward pass, as LoRA does.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from partialgrad.adapters import base_hash
from truenet.streaming import StreamingTRUNet
from truenet_apps.adapt_config import AdaptConfig

LORA_FORMAT = "truenet lora 1"


class LowRankTraining:
    """Factors of chosen weights; see `adapt_methods.Training`."""

    def __init__(self, model: StreamingTRUNet, names: list[str], config: AdaptConfig) -> None:
        self.base_sha256 = base_hash(model)
        model.requires_grad_(False)
        self.weights = {name: model.get_parameter(name).requires_grad_(True) for name in names}
        self.originals = {name: weight.detach().clone() for name, weight in self.weights.items()}
        generator = torch.Generator().manual_seed(config.seed)
        self.parameters: dict[str, nn.Parameter] = {}
        for name, weight in self.weights.items():
            outputs, inputs = weight.flatten(1).shape
            rank = min(config.rank, outputs, inputs)
            a = torch.randn(rank, inputs, generator=generator, dtype=weight.dtype) / inputs**0.5
            self.parameters[f"{name}:a"] = nn.Parameter(a)
            self.parameters[f"{name}:b"] = nn.Parameter(weight.new_zeros(outputs, rank))
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            self.parameters.values(), config.peak_rate, weight_decay=0.0
        )

    def update(self) -> None:
        """One step from the gradients of the factors."""
        self.optimizer.step()
        self._write()

    def pull_gradients(self) -> None:
        """Gradients of the factors from those of the weights."""
        for name, weight in self.weights.items():
            assert weight.grad is not None
            gradient = weight.grad.flatten(1)
            a, b = self.parameters[f"{name}:a"], self.parameters[f"{name}:b"]
            a.grad, b.grad = b.detach().T @ gradient, gradient @ a.detach().T
            weight.grad = None

    def resume(self, values: Mapping[str, Tensor], step: int) -> None:
        """Take values of the factors."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(values[name])
        self._write()

    def weakened(self, values: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
        """Values of the factors whose products are this share of those of `values`."""
        return {n: v * strength if n.endswith(":b") else v for n, v in values.items()}

    def save(self, path: Path) -> None:
        """Write the factors in half precision."""
        tensors = {name: value.detach().half() for name, value in self.parameters.items()}
        path.write_bytes(save(tensors, {"format": LORA_FORMAT, "base_sha256": self.base_sha256}))

    @torch.no_grad()
    def _write(self) -> None:
        for name, weight in self.weights.items():
            product = self.parameters[f"{name}:b"] @ self.parameters[f"{name}:a"]
            weight.copy_(self.originals[name] + product.view_as(weight))


@torch.no_grad()
def add_low_rank(model: StreamingTRUNet, path: Path) -> None:
    """Add the products of a file's factors to the weights of its base.

    Raises:
        ValueError: it was trained on another base.
    """
    with safe_open(path, framework="pt") as file:
        wanted = file.metadata()["base_sha256"]
        if wanted != base_hash(model):
            raise ValueError(
                f"{path} was trained on another base: give the weights with base_sha256 "
                f"{wanted[:12]}… (these have {base_hash(model)[:12]}…)"
            )
        for name in file.keys():  # noqa: SIM118
            if name.endswith(":a"):
                weight = model.get_parameter(name.removesuffix(":a"))
                a, b = file.get_tensor(name), file.get_tensor(name[:-1] + "b")
                weight.add_((b.to(weight) @ a.to(weight)).view_as(weight))
