"""Adapters in peft's formats: exact, and where peft is installed, what it makes of them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from partialgrad import Rule, merge, wrap
from partialgrad.interchange import load_peft_paca, save_lora, save_peft_paca
from partialgrad.layers import all_columns


def linear_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv1d(5, 6, 3, 2, 1), nn.Tanh(), nn.Conv1d(6, 4, 1), nn.Unflatten(1, (2, 2))
    return nn.Sequential(*layers, nn.Conv2d(2, 3, (2, 3), padding=1))


def randomize(net: nn.Module) -> None:
    for _, _, columns in all_columns(net):
        nn.init.normal_(columns.delta)


@pytest.mark.parametrize("make", [linear_net, conv_net])
def test_lora_is_exact(tmp_path: Path, make: Callable[[], nn.Sequential]) -> None:
    base, net = make(), make()
    wrap(net, [Rule("0", r=3), Rule("*", r=2)])
    randomize(net)
    save_lora(net, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    merge(net)
    for name, before in base.named_parameters():
        layer, _, part = name.rpartition(".")
        if part == "weight":
            a = tensors[f"base_model.model.{layer}.lora_A.weight"]
            b = tensors[f"base_model.model.{layer}.lora_B.weight"]
            scale = config["alpha_pattern"][f"^{layer}"] / config["rank_pattern"][f"^{layer}"]
            change = net.get_parameter(name) - before
            product = scale * b.flatten(1) @ a.flatten(1)
            torch.testing.assert_close(product.view_as(change), change, rtol=0, atol=1e-6)


def test_peft_paca_and_back(tmp_path: Path) -> None:
    net, other = linear_net(), linear_net()
    wrap(net, [Rule("*", r=3)])
    randomize(net)
    save_peft_paca(net, tmp_path, "some/base")
    load_peft_paca(other, tmp_path)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_peft_paca_of_another_scale_and_order(tmp_path: Path) -> None:
    """As peft applies it: W[:, indices] += alpha / r · delta."""
    net, base = linear_net(), linear_net()
    wrap(net, [Rule("0", r=2)])
    save_peft_paca(net, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text()) | {"paca_alpha": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    delta, indices = torch.randn(6, 2), torch.tensor([5, 1])
    prefix = "base_model.model.0."
    tensors = {f"{prefix}paca_delta": delta, f"{prefix}paca_indices": indices}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    other = linear_net()
    load_peft_paca(other, tmp_path)
    expected = base[0].weight.detach().clone()
    expected[:, indices] += 4 * delta
    torch.testing.assert_close(other[0].weight.detach(), expected)


def test_what_the_formats_of_peft_cannot_hold(tmp_path: Path) -> None:
    refused = nn.ConvTranspose1d(4, 4, 1), nn.Conv1d(4, 4, 3, dilation=2), nn.GRU(4, 4)
    for layer in (*refused, nn.Conv1d(4, 4, 1, groups=2)):
        net = nn.Sequential(layer)
        wrap(net, [Rule("*", r=2)])
        with pytest.raises(
            ValueError, match="without groups or dilation, no biases: use save_adapter"
        ):
            save_lora(net, tmp_path)
    net = nn.Sequential(nn.Conv1d(4, 4, 1))
    wrap(net, [Rule("*", r=2)])
    with pytest.raises(ValueError, match="peft's PaCA holds weights of Linear"):
        save_peft_paca(net, tmp_path)
    net = linear_net()
    wrap(net, [Rule("0", r=3, bias=True)])
    with pytest.raises(ValueError, match=r"0\.bias: .*no biases"):
        save_lora(net, tmp_path)
    net = linear_net()
    wrap(net, [Rule("0", r=3), Rule("*", r=2)])
    with pytest.raises(ValueError, match="one r for all"):
        save_peft_paca(net, tmp_path)
    net = linear_net()
    wrap(net, [Rule("0", r=3), Rule("2", train="all")])
    with pytest.raises(ValueError, match="trained in full"):
        save_lora(net, tmp_path)
    save_lora_folder = tmp_path / "lora"
    net = linear_net()
    wrap(net, [Rule("0", r=3)])
    save_lora(net, save_lora_folder)
    with pytest.raises(ValueError, match="LORA adapter"):
        load_peft_paca(linear_net(), save_lora_folder)


def nested_net() -> nn.Sequential:
    """Layers whose names end alike."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4)))


NETS: list[tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = [
    (linear_net, (7, 8)),
    (nested_net, (7, 8)),
    (conv_net, (2, 5, 9)),
]


def installed_peft(config: str) -> Any:
    peft = pytest.importorskip("peft", reason="needs peft", exc_type=ImportError)
    if not hasattr(peft, config):
        pytest.skip(f"peft {peft.__version__} has no {config}")
    return peft


@pytest.mark.filterwarnings("ignore")  # of peft and what it imports
@pytest.mark.parametrize(("make", "shape"), NETS)
def test_peft_computes_the_same_with_an_exported_lora(
    tmp_path: Path, make: Callable[[], nn.Sequential], shape: tuple[int, ...]
) -> None:
    peft = installed_peft("LoraConfig")
    net, base, x = make(), make(), torch.randn(shape)
    wrap(net, [Rule("0", r=3), Rule("*", r=2)])
    randomize(net)
    save_lora(net, tmp_path)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    torch.testing.assert_close(loaded(x), net(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(base(x), net(x), atol=0.1)
    torch.testing.assert_close(loaded.merge_and_unload()(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_peft_computes_the_same_with_an_exported_paca_and_back(tmp_path: Path) -> None:
    peft = installed_peft("PacaConfig")
    net, x = linear_net(), torch.randn(7, 8)
    wrap(net, [Rule("*", r=3)])
    randomize(net)
    save_peft_paca(net, tmp_path / "ours")
    loaded = peft.PeftModel.from_pretrained(linear_net(), tmp_path / "ours").eval()
    torch.testing.assert_close(loaded(x), net(x), rtol=1e-4, atol=1e-5)
    loaded.save_pretrained(tmp_path / "theirs")
    back = linear_net()
    load_peft_paca(back, tmp_path / "theirs")
    torch.testing.assert_close(back(x), net(x), rtol=1e-4, atol=1e-5)
