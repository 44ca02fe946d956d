"""What a training run tells: after every step to its caller, and for good in metrics.csv and TensorBoard."""

import csv
import dataclasses
import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run tells after a step; `validation` is empty except where the step was validated."""

    step: int
    steps: int
    loss: float
    terms: dict[str, float]
    learning_rate: float
    gradient_norm: float
    times_real_time: float
    waiting_share: float
    seconds_left: float
    validation: dict[str, float]


class TrainingLog:
    """metrics.csv and TensorBoard; a resumed run drops the rows after its checkpoint."""

    COLUMNS = (
        "step", "loss", "learning_rate", "gradient_norm", "times_real_time", "waiting_share", "terms", "validation",
    )  # fmt: skip

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.csv"
        rows: list[dict[str, str]] = []
        if step and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self.file = self.path.open("w", newline="", encoding="utf-8")
        self.csv = csv.DictWriter(self.file, self.COLUMNS)
        self.csv.writeheader()
        self.csv.writerows(rows)
        self.board = SummaryWriter(str(folder), purge_step=step)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()

    def write(self, progress: Progress) -> None:
        values = {name: getattr(progress, name) for name in self.COLUMNS[:6]}
        nested = {name: json.dumps(getattr(progress, name)) for name in self.COLUMNS[6:]}
        self.csv.writerow({**values, **nested})
        self.file.flush()
        for name, value in {**values, **progress.terms, **progress.validation}.items():
            if name != "step":
                self.board.add_scalar(name, value, progress.step)
