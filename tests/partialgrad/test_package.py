"""The package stands alone, and its README tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "finetune" / "README.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_imports_with_truenet_blocked() -> None:
    code = "import sys; sys.modules['truenet'] = None; import partialgrad, partialgrad.interchange"
    others = (
        "print([m for m in sys.modules if m.split('.')[0] in ('scipy', 'truenet_apps', 'onnx')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; {others}"], capture_output=True, text=True
    )
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


def test_the_convolutional_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(examples()[0], {})
    assert (tmp_path / "adapter.safetensors").stat().st_size > 0


def test_the_transformer_example_with_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's calls of this library on a model of the same names (no download)."""
    from types import ModuleType, SimpleNamespace

    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj = nn.Linear(32, 32), nn.Linear(32, 32)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.model = nn.Embedding(9, 32), nn.Module()
            self.model.layers = nn.ModuleList([Layer()])
            self.head = nn.Linear(32, 9)

        def forward(self, input_ids: torch.Tensor, labels: object = None) -> SimpleNamespace:
            x = self.embed(input_ids)
            layer = self.model.get_submodule("layers.0")
            loss = nn.functional.cross_entropy(
                self.head(layer.q_proj(x) * layer.k_proj(x)).flatten(0, 1), input_ids.flatten()
            )
            losses.append(loss.item())
            return SimpleNamespace(loss=loss)

    losses: list[float] = []
    stand_in = ModuleType("transformers")
    batch = {"input_ids": torch.arange(9)[None]}
    stand_in.AutoModelForCausalLM = SimpleNamespace(from_pretrained=lambda _: Model())  # type: ignore[attr-defined]
    tokenizer = SimpleNamespace(from_pretrained=lambda _: lambda *a, **k: batch)
    stand_in.AutoTokenizer = tokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    torch.manual_seed(0)
    exec(examples()[1], {})
    assert losses[-1] < losses[0]
