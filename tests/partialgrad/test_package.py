"""The package stands alone, and its README tells the truth."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import nn

from partialgrad import dropbp

README = Path(__file__).parents[2] / "finetune" / "README.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_imports_with_truenet_blocked() -> None:
    code = (
        "import sys; sys.modules['truenet'] = None; "
        "import partialgrad, partialgrad.interchange, partialgrad.benchmarks.__main__"
    )
    others = (
        "print([m for m in sys.modules if m.split('.')[0] in ('scipy', 'truenet_apps', 'onnx')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; {others}"], capture_output=True, text=True
    )
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


def test_what_it_depends_on_is_enough(tmp_path: Path) -> None:
    """The convolutional example, with everything blocked that a plain `pip install` does not bring."""
    declared = tomllib.loads((README.parent / "pyproject.toml").read_text())
    brought, waiting = {"partialgrad"}, list(declared["project"]["dependencies"])
    while waiting:
        requirement = Requirement(waiting.pop())
        extras = requirement.extras or {""}
        if (name := canonicalize_name(requirement.name)) not in brought or requirement.extras:
            brought.add(name)
            needs = map(Requirement, metadata.requires(name) or ())
            waiting += [
                str(need)
                for need in needs
                if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras)
            ]
    installed = metadata.packages_distributions().items()
    blocked = [
        module
        for module, owners in installed
        if not brought & {canonicalize_name(owner) for owner in owners}
    ]
    assert {"scipy", "pytest"} <= set(blocked)
    example = tmp_path / "example.py"
    example.write_text(f"import sys\nfor m in {blocked}: sys.modules[m] = None\n{examples()[0]}")
    command = [sys.executable, "example.py"]
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "adapter.safetensors").exists()


def test_the_convolutional_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(examples()[0], {})
    assert (tmp_path / "adapter.safetensors").stat().st_size > 0


def test_the_transformer_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model of the same names where transformers is not installed."""
    losses: list[float] = []
    monkeypatch.setitem(sys.modules, "transformers", stand_in(losses))
    torch.manual_seed(0)
    exec(examples()[1], {})
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore")  # of transformers and what it imports
def test_the_transformer_example_on_an_opt_of_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few layers and random weights: nothing is downloaded."""
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers", exc_type=ImportError
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = transformers.OPTConfig(vocab_size=64, word_embed_proj_dim=32, dropout=0.0, **sizes)
    model = transformers.OPTForCausalLM(config)
    ids = torch.randint(5, 64, (1, 12))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before = model(**batch, labels=ids).loss
    for auto, made in (("AutoModelForCausalLM", model), ("AutoTokenizer", lambda *a, **k: batch)):
        loader = staticmethod(lambda _, made=made: made)
        monkeypatch.setattr(getattr(transformers, auto), "from_pretrained", loader)
    namespace: dict[str, object] = {}
    exec(examples()[1], namespace)
    assert namespace["share"]
    assert model(**batch, labels=ids).loss < before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_example_of_dropped_branches() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for branch in self.branches:
                x = x + branch(x)
            return x

    torch.manual_seed(0)
    model, x = Residual(), torch.randn(2, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    namespace = {"model": model, "x": x, "optimizer": optimizer}
    exec(examples()[2], namespace)
    dropping = dropbp.attached(model)
    assert dropping is not None
    assert sum(dropping.rates.values()) == pytest.approx(0.5 * 3)
    model(x).sum().backward()
    optimizer.step()
    assert dropping.step == 1


def test_every_example_is_run() -> None:
    assert len(examples()) == 3


def stand_in(losses: list[float]) -> ModuleType:
    """What the example needs of transformers."""

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

    module = ModuleType("transformers")
    batch = {"input_ids": torch.arange(9)[None]}
    module.AutoModelForCausalLM = SimpleNamespace(from_pretrained=lambda _: Model())  # type: ignore[attr-defined]
    tokenizer = SimpleNamespace(from_pretrained=lambda _: lambda *a, **k: batch)
    module.AutoTokenizer = tokenizer  # type: ignore[attr-defined]
    return module
