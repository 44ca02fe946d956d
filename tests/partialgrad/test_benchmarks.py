"""The comparison runs, compares like with like, and writes what it found."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from partialgrad import Rule
from partialgrad.benchmarks import Task
from partialgrad.benchmarks.__main__ import main
from partialgrad.benchmarks.convolutional import ConvolutionalRecurrent, error_db
from partialgrad.benchmarks.methods import methods
from partialgrad.benchmarks.report import BEGIN, END, as_markdown, put_into
from partialgrad.benchmarks.running import Result, Row
from partialgrad.benchmarks.transformer import Transformer, next_token_loss
from partialgrad.dropbp import named


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32)) for _ in range(4)
        )
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def small() -> Task:
    """What `--model test_benchmarks:small` finds."""
    torch.manual_seed(0)
    batches = [(torch.randn(8, 32), torch.randn(8, 2)) for _ in range(4)]
    return Task(
        "small",
        Residual(),
        loss,
        batches,
        rules=[Rule("branches.*", r=4, types=(nn.Linear,))],
        head=("head",),
        validation=batches,
        test=batches,
        lora_rank=2,
        columns=4,
        branches=lambda model: named(model, "branches.*"),
    )


def no_task() -> None:
    return None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on `small`, without peft."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    options = ["--steps", "20", "--rounds", "2", "--model", "a_model:small"]
    files = ["--json", str(folder / "all.json"), "--readme", str(folder / "README.md")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        patch.setitem(sys.modules, "a_model", sys.modules[__name__])
        main([*options, *files])
    return folder


def test_all_methods_in_one_run(run: Path) -> None:
    (task,) = json.loads((run / "all.json").read_text())["tasks"]
    rows = {row["method"]: row for row in task["rows"]}
    assert list(rows) == list(methods())
    full, ours = rows["full fine-tuning"], rows["ours"]
    assert full["trained"] == sum(p.numel() for p in Residual().parameters())
    assert ours["trained"] == 8 * 32 * 4
    assert full["loss"] < task["loss_before"]
    assert ours["loss"] < task["loss_before"]
    assert ours["memory_bytes"] < 0.8 * full["memory_bytes"]
    compressed, dropped = (rows[name]["memory_bytes"] for name in list(rows)[-3:-1])
    assert compressed < 0.8 * ours["memory_bytes"]
    assert dropped < 0.6 * ours["memory_bytes"]
    assert ours["result_bytes"] < full["result_bytes"]
    assert rows["peft LoRA"]["missing"] == "peft is not installed"
    assert all(row["step_seconds"] > 0 for row in task["rows"] if not row["missing"])


def test_the_tables_go_between_the_markers(run: Path) -> None:
    text = (run / "README.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n`python -m partialgrad.benchmarks --steps 20")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| full fine-tuning | 8,514 | 1.00× |" in text
    assert "| peft LoRA | peft is not installed |" in text


def test_the_readme_shows_what_the_repository_holds() -> None:
    """Its tables are those of benchmarks.json, and its first claim is among them."""
    folder = Path(__file__).parents[2] / "finetune"
    conditions = json.loads((folder / "benchmarks.json").read_text(encoding="utf-8"))
    results = [
        Result(**task | {"rows": [Row(**row) for row in task["rows"]]})
        for task in conditions.pop("tasks")
    ]
    text = (folder / "README.md").read_text(encoding="utf-8")
    tables = text.partition(f"{BEGIN}\n")[2].partition(END)[0]
    assert tables == as_markdown(results, conditions)
    trunet = {row.method: row for row in results[-1].rows}
    full, ours = (trunet[name].memory_bytes for name in ("full fine-tuning", "ours + freeze_ops"))
    assert full is not None
    assert ours is not None
    assert full > 5 * ours


def test_what_cannot_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_model", sys.modules[__name__])
    with pytest.raises(ValueError, match="MODULE:FUNCTION"):
        main(["--model", "a_model"])
    with pytest.raises(ValueError, match="no function nothing"):
        main(["--model", "a_model:nothing"])
    with pytest.raises(ValueError, match="NoneType, not a Task"):
        main(["--model", "a_model:no_task"])
    with pytest.raises(ValueError, match="at least 1"):
        main(["--model", "a_model:small", "--rounds", "0"])
    with pytest.raises(SystemExit):
        main(["nonsense"])
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(ValueError, match="must have the lines"):
        put_into(tmp_path / "README.md", "tables")
    with pytest.raises(ValueError, match="no training batches"):
        Task("none", nn.Linear(1, 1), loss, [], [], [])
    with pytest.raises(ValueError, match="or neither"):
        Task("none", nn.Linear(1, 1), loss, [0], [], [], validation=[0])


def test_the_built_in_models() -> None:
    ids = torch.arange(10).view(2, 5) % 7
    transformer = Transformer(vocabulary=7, tokens=4, width=8, heads=2, layers=1)
    next_token_loss(transformer, ids).backward()
    later = ids.clone()
    later[:, 3] += 1
    torch.testing.assert_close(transformer(ids[:, :4])[:, :3], transformer(later[:, :4])[:, :3])
    samples = torch.randn(2, 80)
    assert error_db(ConvolutionalRecurrent(8, 1), (samples, samples)).isfinite()
    assert error_db(nn.Identity(), (1.1 * samples, samples)).item() == pytest.approx(-20)


@pytest.mark.filterwarnings("ignore")  # of peft and what it imports
@pytest.mark.parametrize("name", ["peft LoRA", "peft MiSS"])
def test_methods_of_peft_adapt_the_same_layers(name: str) -> None:
    pytest.importorskip("peft", reason="needs peft", exc_type=ImportError)
    task = small()
    candidate = methods()[name](task, torch.device("cpu"), 0.01)
    assert candidate.trained == 8 * {"peft LoRA": 2 * 2 * 32, "peft MiSS": 4 * 32}[name]
    torch.testing.assert_close(
        task.loss(candidate.model, task.test[0]), task.loss(task.model, task.test[0])
    )
