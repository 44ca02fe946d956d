#!/usr/bin/env python3
"""What the shipped network makes of each of its inputs, and of the imaginary part of its masks: its scores with one of
them set to zero.

    python scripts/what_it_uses.py ../shared/data/valid/mix
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from truenet import streaming
from truenet.features import Features
from truenet.mask import phase_aware_mask
from truenet.validation import validate
from truenet.weights import load_weights

WEIGHTS = Path(__file__).parents[1] / "truenet" / "models" / "truenet.safetensors"


def without(*channels: int) -> Callable[..., Any]:
    """The features with some of their channels at zero."""

    def forward(self: Features, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        features, state = plain(self, *arguments)
        features[..., channels] = 0
        return features, state

    plain = Features.forward
    return forward


def real_mask(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    real, imaginary = phase_aware_mask(*arguments, **options)
    return real, torch.zeros_like(imaginary)


CASES: dict[str, tuple[Any, str, Any]] = {
    "as it is": (Features, "forward", Features.forward),
    "no log magnitude": (Features, "forward", without(0)),
    "no PCEN": (Features, "forward", without(1)),
    "no phase": (Features, "forward", without(2, 3)),
    "real masks": (streaming, "phase_aware_mask", real_mask),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("valid", type=Path, help="folder with clean and noisy")
    valid = parser.parse_args().valid
    print("| | PESQ-WB | STOI | SI-SDR, dB |\n| --- | ---: | ---: | ---: |")
    for name, (owner, part, replacement) in CASES.items():
        model, _ = load_weights(WEIGHTS)
        kept = getattr(owner, part)
        setattr(owner, part, replacement)
        with torch.no_grad():
            scores = validate(model, valid)
        setattr(owner, part, kept)
        print(
            f"| {name} | {scores['pesq_wb']:.3f} | {scores['stoi']:.3f} | {scores['si_sdr_db']:.2f} |".replace(
                "-", "−"
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
