"""What a model costs: parameters and multiply-accumulates, block by block."""

import torch
from torch import Tensor, nn

from truenet.config import TRUNetConfig
from truenet.streaming import StreamingTRUNet

BLOCKS = ("features", "encoder", "frequency_gru", "time_gru", "decoder")


def count_parameters(model: StreamingTRUNet) -> dict[str, int]:
    """Parameters of each block; the first convolution belongs to the encoder."""
    return {
        block: sum(p.numel() for name, p in model.named_parameters() if _block(name) == block)
        for block in BLOCKS
    }


@torch.no_grad()
def count_macs_per_frame(config: TRUNetConfig) -> dict[str, int]:
    """Multiply-accumulates of the convolutions and GRUs of one frame.

    Fourier transforms, features, masks, norms and biases are left out: they are less than a hundredth.
    """
    model = StreamingTRUNet(config).eval()
    macs = dict.fromkeys(BLOCKS, 0)

    def count(name: str, layer: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
        macs[_block(name)] += _macs(layer, inputs, outputs)

    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.GRU):
            layer.register_forward_hook(
                lambda layer, inputs, outputs, name=name: count(name, layer, inputs[0], outputs)
            )
    model(torch.zeros(1, config.hop_samples), model.initial_state(1), torch.ones(1, 3))
    return macs


def _macs(layer: nn.Module, inputs: Tensor, outputs: Tensor) -> int:
    if isinstance(layer, nn.ConvTranspose2d):
        return inputs.numel() * layer.out_channels // layer.groups * layer.kernel_size[1]
    if isinstance(layer, nn.Conv2d):
        return outputs.numel() * layer.in_channels // layer.groups * layer.kernel_size[1]
    if isinstance(layer, nn.GRU):
        positions = inputs.numel() // layer.input_size
        directions = 2 if layer.bidirectional else 1
        return (
            positions * directions * 3 * layer.hidden_size * (layer.input_size + layer.hidden_size)
        )
    raise TypeError(f"no rule for {type(layer).__name__}")


def _block(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "features":
        return "features"
    return "encoder" if parts[1] == "first" else parts[1]
