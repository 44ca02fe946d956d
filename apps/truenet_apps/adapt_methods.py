"""What is trained of the model, by method: PaCA, PaCA with DropBP, biases, everything, or LoRA factors."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import partialgrad
from partialgrad import dropbp
from truenet.grids import Grids, round_signals
from truenet.streaming import StreamingTRUNet
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_lora import LORA_FORMAT, LowRankTraining, add_low_rank

# The outermost level of the U-Net first: the deeper, the more is dropped.
DROP_RATES = (0.1, 0.2, 0.3, 0.4, 0.5)


class Training(Protocol):
    """Trained values and their optimizer."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def pull_gradients(self) -> None:
        """See that `parameters` have their gradients, after a backward pass."""

    def update(self) -> None:
        """One step of the optimizer, from the gradients of `parameters`."""

    def resume(self, values: Mapping[str, Tensor], step: int) -> None:
        """Take values of `parameters`."""

    def weakened(self, values: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
        """Values of `parameters` that move the weights by this share of what `values` move them."""

    def save(self, path: Path) -> None:
        """Write an adapter."""


class PartialTraining:
    """Everything that `partialgrad` does, and training in full, which is its rule of that name."""

    def __init__(
        self, model: StreamingTRUNet, config: AdaptConfig, grids: Grids | None = None
    ) -> None:
        self.model = model
        self.plan = partialgrad.wrap(model, rules(model, config))
        if grids is not None:
            steps = {n: (g.scales, 2 ** (g.bits - 1) - 1) for n, g in grids.weights.items()}
            partialgrad.keep_on_grid(model, steps)
            round_signals(model, grids)
        if config.method != "full":
            partialgrad.freeze_ops(model)
        keep_statistics(model)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.start = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.optimizer: torch.optim.Optimizer = partialgrad.PartialAdamW(model, config.peak_rate)
        self.dropping = _dropping(model, config) if config.method == "paca+dropbp" else None

    def pull_gradients(self) -> None:
        """See `Training`."""
        if self.dropping is not None:
            self.dropping.settle_gradients()

    def update(self) -> None:
        """See `Training`."""
        self.optimizer.step()
        if self.dropping is not None:
            self.dropping.step += 1

    @torch.no_grad()
    def resume(self, values: Mapping[str, Tensor], step: int) -> None:
        """See `Training`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
        partialgrad.write(self.model)
        if self.dropping is not None:
            self.dropping.step = step

    def weakened(self, values: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
        """See `Training`."""
        return {n: torch.lerp(start, values[n], strength) for n, start in self.start.items()}

    def save(self, path: Path) -> None:
        """See `Training`."""
        partialgrad.save_adapter(self.model, path, compact=True)


def start(model: StreamingTRUNet, config: AdaptConfig, grids: Grids | None = None) -> Training:
    """Make a model, changed in place, ready to be trained by the configured method.

    Args:
        model: the base.
        config: see there.
        grids: of a base of whole numbers; it is then trained as the small model file will compute.

    Raises:
        ValueError: a method that cannot stay on grids.
    """
    if grids is not None and config.method in ("full", "lora"):
        raise ValueError(
            f"--method {config.method} cannot train weights of whole numbers: give paca, paca+dropbp or bias, "
            "or the weights in float"
        )
    if config.method == "lora":
        keep_statistics(model)
        return LowRankTraining(model, inner_weights(model), config)
    return PartialTraining(model, config, grids)


def rules(model: StreamingTRUNet, config: AdaptConfig) -> list[partialgrad.Rule]:
    """Of the pointwise and transposed convolutions and the recurrent layers, by method."""
    if config.method == "full":
        return [partialgrad.Rule("*", train="all")]
    if config.method == "bias":
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.GRU)
        return [partialgrad.Rule("network.*", train="bias", types=kinds)]
    return [
        partialgrad.Rule(glob.escape(name), r=min(config.rank, columns), bias=True)
        for name, columns in _layers(model)
    ]


def inner_weights(model: StreamingTRUNet) -> list[str]:
    """The weights whose columns PaCA trains."""
    names = dict(model.named_parameters())
    return [
        f"{layer}.{weight}"
        for layer, _ in _layers(model)
        for weight in ("weight", "weight_ih_l0", "weight_ih_l0_reverse")
        if f"{layer}.{weight}" in names
    ]


def _layers(model: StreamingTRUNet) -> list[tuple[str, int]]:
    """Pointwise, transposed and recurrent layers, and how many input columns each has."""
    found = []
    for name, layer in model.named_modules():
        if name.split(".")[-1] in ("pointwise", "transposed", "gru"):
            found.append((name, int(getattr(layer, "in_channels", 0) or layer.input_size)))
    return found


def keep_statistics(model: nn.Module) -> None:
    """Batch norms stay as they are: a place has too little audio for statistics of its own."""
    model.eval()


def _dropping(model: StreamingTRUNet, config: AdaptConfig) -> dropbp.DropBP:
    """Skip the backward pass of whole levels of the U-Net, the deepest most often."""
    network = model.network
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    last = len(network.decoder) - 1
    bypassed = [[f"encoder.{i}", f"decoder.{last - 1 - i}"] for i in range(len(network.encoder))]
    bypassed[-1][1:1] = ["frequency_gru", "time_gru"]
    rates = {f"level {level}": rate for level, rate in enumerate(DROP_RATES[: len(bypassed)])}
    policy = dropbp.Policy(dropbp.levels(network, bypassed), rates, seed=config.seed)
    return dropbp.attach(network, policy)


def write_adapter(training: Training, path: Path, facts: Mapping[str, str]) -> None:
    """Write an adapter, in place of `path` only once complete.

    Args:
        training: what was trained.
        path: of the .adapter file.
        facts: kept beside the values, for people.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        training.save(temporary)
        with safe_open(temporary, framework="pt") as file:
            metadata = {**file.metadata(), **facts}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        temporary.write_bytes(save(tensors, metadata))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def apply_adapter(model: StreamingTRUNet, path: Path) -> dict[str, str]:
    """Put what an adapter learned into the weights of its base.

    Returns:
        the facts that are kept in it.

    Raises:
        ValueError: no adapter, or one of another base.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, str] = file.metadata() or {}
        if facts.get("format") == LORA_FORMAT:
            add_low_rank(model, path)
        else:
            partialgrad.load_adapter(model, path)
            partialgrad.merge(model)
    except FileNotFoundError as error:
        raise ValueError(f"no adapter at {path}") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is no adapter, or damaged ({error})") from error
    return facts


def trained_count(training: Training) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in training.parameters.values())


def stored_bytes(training: Training) -> int:
    """How many bytes an adapter's numbers take: one for each of a trained column, two for others."""
    return sum(
        parameter.numel() * (1 if ".partial." in name and parameter.dim() > 1 else 2)
        for name, parameter in training.parameters.items()
    )
