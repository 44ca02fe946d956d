#!/usr/bin/env python3
"""Train variants of the network, its mask, features, loss and mixing for equally long on the same mixtures, from
scratch, and write what each gains or costs into docs/ABLATIONS.md.

Usage: scripts/ablations.py VALID [--variants ...] [--work FOLDER] [--cache FOLDER] [--threads N] [--made]

VALID is a folder of pairs (`clean`, `noisy`). Every run is `truenet train recipes/ablation.json` with the changes
of VARIANTS; one that was finished before is not repeated, so the command can be stopped and given again, and two
can work on other variants at the same time. --made writes the table of what is there.
"""

import argparse
import copy
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import scipy.stats
import torch
from torch import Tensor

from truenet import streaming
from truenet.config import TRUNetConfig, from_dict
from truenet.cost import count_macs_per_frame
from truenet.features import Features, floored_magnitude

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "ablation.json"
PAGE = ROOT / "docs" / "ABLATIONS.md"
START, END = "<!-- made by scripts/ablations.py -->", "<!-- end -->"
DIGITS = {"pesq_wb": 3, "stoi": 3, "si_sdr_db": 2}
BASE = "the paper's network"


def complex_mask(logits: Tensor, sign: str, draw: bool = False) -> tuple[Tensor, Tensor]:
    """Real and imaginary part as they come out of the network; like the house's mask, it starts near one half."""
    return 0.5 + logits[..., 0], logits[..., 1]


def smooth_chart(logits: Tensor, sign: str, draw: bool = False) -> tuple[Tensor, Tensor]:
    """The ellipses of the phase-aware mask with a signed coordinate across: no clip, no sign to be chosen."""
    along, across = torch.tanh(logits[..., 0]), 3 * torch.tanh(logits[..., 1] / 3)
    real = (1 + along * torch.cosh(across)) / 2
    return real, torch.sinh(across) * torch.sqrt(1 - along * along + 1e-6) / 2


class CompressedComplex(Features):
    """Real and imaginary part to the power of 0.3, relative to the recent level, in the place of the phase."""

    def forward(self, real: Tensor, imaginary: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As that of `Features`."""
        features, following = super().forward(real, imaginary, state)
        magnitude = floored_magnitude(real, imaginary)
        compressed = torch.exp(0.6 * features[..., 0])  # the log magnitude is halved
        parts = torch.stack([real, imaginary], dim=3) * (compressed / magnitude)[..., None]
        return torch.cat([features[..., :2], parts], dim=3), following


class PhaseRelations(Features):
    """The advance of the phase, and what the phase turns by from bin to bin: where in the window the sound is."""

    @property
    def channels(self) -> int:
        return 6

    def forward(self, real: Tensor, imaginary: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As that of `Features`."""
        features, following = super().forward(real, imaginary, state)
        magnitude = floored_magnitude(real, imaginary)
        phase = torch.complex(real / magnitude, imaginary / magnitude)
        turned = torch.view_as_real(phase[..., :-1] * phase[..., 1:].conj())
        turned = torch.nn.functional.pad(turned, (0, 0, 1, 0))
        return torch.cat([features, turned], dim=3), following


class FramesBefore(Features):
    """All features of the two frames before as well: a first convolution that spans three frames."""

    repeated = 4  # of the channels

    @property
    def channels(self) -> int:
        return super().channels + 2 * self.repeated

    def forward(self, real: Tensor, imaginary: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As that of `Features`, of whole signals: the frames before a block are not remembered."""
        features, following = super().forward(real, imaginary, state)
        padded = torch.nn.functional.pad(features[..., : self.repeated], (0, 0, 0, 0, 2, 0))
        return torch.cat([features, padded[:, 1:-1], padded[:, :-2]], dim=3), following


class LevelsBefore(FramesBefore):
    """The log magnitudes of the two frames before as well."""

    repeated = 1


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the recipe, what of `truenet.streaming` is replaced, and what it is compared with."""

    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    replaced: dict[str, Any] = dataclasses.field(default_factory=dict)
    base: str = BASE


def _model(**changes: Any) -> Variant:
    return Variant({"model": changes})


_ADVANCE = {"features": ["log_magnitude", "pcen", "phase_advance"]}
_PAPERS_LOSS = {"complex_spectrum": 0.0, "perceptual": 0.0, "parts": [1.0, 1.0, 1.0]}
_UNCHANGED_VOICES = ("speed", "equalization", "clipping", "lowpass")
VARIANTS = {
    BASE: Variant(),
    "another seed": Variant({"seed": 101}),
    "hop of 256": _model(hop_samples=256),
    "decoder of 48 channels": _model(decoder_channels=[48] * 5),
    "decoder of 32 channels": _model(decoder_channels=[32] * 5),
    "wide last block": _model(wide_last_block=True),
    "no PCEN": _model(features=["log_magnitude", "demodulated_phase"]),
    "no phase": _model(features=["log_magnitude", "pcen"]),
    "no phase, another seed, against that": Variant(
        {"seed": 101, "model": {"features": ["log_magnitude", "pcen"]}}, base="another seed"
    ),
    "compressed complex spectrum for phase": Variant(replaced={"Features": CompressedComplex}),
    "advance of the phase for phase": Variant({"model": _ADVANCE}),
    "advance of the phase, another seed, against that": Variant(
        {"seed": 101, "model": _ADVANCE}, base="another seed"
    ),
    "advance and bin to bin": Variant({"model": _ADVANCE}, {"Features": PhaseRelations}),
    "advance and bin to bin, another seed, against that": Variant(
        {"seed": 101, "model": _ADVANCE}, {"Features": PhaseRelations}, base="another seed"
    ),
    "advance, all of two frames before": Variant({"model": _ADVANCE}, {"Features": FramesBefore}),
    "advance, levels of two frames before": Variant(
        {"model": _ADVANCE}, {"Features": LevelsBefore}
    ),
    "hard sign (Gumbel)": _model(sign="gumbel"),
    "plain complex mask": Variant(replaced={"phase_aware_mask": complex_mask}),
    "smooth chart": Variant(replaced={"phase_aware_mask": smooth_chart}),
    "the paper's loss": Variant({"loss": _PAPERS_LOSS}),
    "no perceptual loss": Variant({"loss": {"perceptual": 0.0}}),
    "no speed, equalizer, clipping": Variant(
        {"mixing": {f"{name}_probability": 0.0 for name in _UNCHANGED_VOICES}}
    ),
    "voice with 5 ms of its room": Variant({"mixing": {"direct_ms": 5.0}}),
    "AdamW": Variant({"optimizer": "adamw"}),
}


def main() -> None:
    arguments = parse()
    if arguments.one:
        train_and_score(arguments.one, arguments)
        return
    for name in arguments.variants:
        if not arguments.made and not (folder(name, arguments.work) / "scores.json").exists():
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            subprocess.run(command, check=True)
    write_table(arguments.work)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("valid", type=Path)
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS], choices=VARIANTS)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "ablations")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--made", action="store_true", help="only the table, of runs made before")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def folder(name: str, work: Path) -> Path:
    return work / re.sub(r"\W+", "_", name)


def recipe(name: str) -> dict[str, Any]:
    """The recipe with what the variant changes."""
    values = json.loads(RECIPE.read_text(encoding="utf-8"))
    changed: dict[str, Any] = copy.deepcopy(values)
    for key, change in VARIANTS[name].changes.items():
        changed[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return changed


def train_and_score(name: str, arguments: argparse.Namespace) -> None:
    """One variant, in a process of its own, since it may replace a part of the network."""
    from truenet.validation import score_pairs
    from truenet.weights import load_weights
    from truenet_apps.train import train

    where = folder(name, arguments.work)
    where.mkdir(parents=True, exist_ok=True)
    config = where / "recipe.json"
    config.write_text(json.dumps(recipe(name)), encoding="utf-8")
    for part, replacement in VARIANTS[name].replaced.items():
        setattr(streaming, part, replacement)
    train(config, where / "run", arguments.threads, arguments.cache, every=50)
    model, facts = load_weights(where / "run" / "weights.safetensors")
    model.eval()
    result = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "hours": float(facts["hours_seen"]),
        "rows": score_pairs(model, arguments.valid),
    }
    temporary = where / "scores.json.part"
    temporary.write_text(json.dumps(result), encoding="utf-8")
    os.replace(temporary, where / "scores.json")


def write_table(work: Path) -> None:
    made = {
        name: json.loads((folder(name, work) / "scores.json").read_text(encoding="utf-8"))
        for name in VARIANTS
        if (folder(name, work) / "scores.json").exists()
    }
    for base in {VARIANTS[name].base for name in made} | {BASE}:
        if base not in made:
            sys.exit(f'no finished run of "{base}" in {work}; train it first')
    lines = [
        f"| {made[BASE]['hours']:.2f} h of mixtures each | parameters | MAC/s | PESQ-WB | STOI | SI-SDR, dB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, result in made.items():
        model = from_dict(TRUNetConfig, recipe(name).get("model", {}))
        macs = sum(count_macs_per_frame(model).values()) * model.frames_per_second
        base = made[VARIANTS[name].base]["rows"]
        cells = [cell(metric, result["rows"], base, name) for metric in DIGITS]
        lines.append(
            f"| {name} | {result['parameters']:,} | {macs / 1e9:.2f} G | {' | '.join(cells)} |"
        )
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    table = "\n".join([START, *lines, END])
    PAGE.write_text(before + table + rest.partition(END)[2], encoding="utf-8")
    print("\n".join(lines))


def cell(
    metric: str, rows: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], name: str
) -> str:
    """Mean of the base; of the others the difference to it, with its 95 % interval over the pairs."""
    digits = DIGITS[metric]
    if name == BASE:
        return f"{statistics.fmean(row[metric] for row in rows):.{digits}f}"
    gains = [row[metric] - other[metric] for row, other in zip(rows, base, strict=True)]
    half = scipy.stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
    mean = statistics.fmean(gains)
    return f"{mean:+.{digits}f} ± {half:.{digits}f}".replace("-", "−")


if __name__ == "__main__":
    main()
