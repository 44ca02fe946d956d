#!/usr/bin/env python3
"""The mean of the weights of two or more runs that began with the same weights: less of what each of them learned
by chance.

    python scripts/average_weights.py A.safetensors B.safetensors -o MEAN.safetensors

Batch-norm statistics are averaged too. The result says of what it is the mean, and counts the hours heard by the
one that heard most.
"""

import argparse
import sys
from pathlib import Path

import torch

from truenet.grids import GRIDS
from truenet.streaming import StreamingTRUNet
from truenet.weights import FACTS_OF_ONE_RUN, load_weights, save_weights, weights_sha256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--output", "-o", type=Path, required=True)
    given = parser.parse_args()
    if given.output.exists():
        sys.exit(f"{given.output} exists; give another name, or remove it")
    try:
        model, facts = mean(given.weights)
    except ValueError as error:
        sys.exit(str(error))
    save_weights(model, given.output, facts)


def mean(files: list[Path]) -> tuple[StreamingTRUNet, dict[str, str]]:
    """The mean of weights, and its facts.

    Raises:
        ValueError: one file alone, another network, or weights in whole numbers.
    """
    if len(files) < 2:
        raise ValueError("a mean needs two files of weights at least")
    loaded = [load_weights(file) for file in files]
    model, _ = loaded[0]
    for file, (other, facts) in zip(files, loaded, strict=True):
        if GRIDS in facts:
            raise ValueError(f"{file} has weights in whole numbers; give those it was made of")
        if other.config != model.config:
            raise ValueError(f"{file} is of another network than {files[0]}")
    states = [other.state_dict() for other, _ in loaded]
    model.load_state_dict(
        {
            name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
            for name, value in states[0].items()
        }
    )
    _, most = max(loaded, key=lambda pair: float(pair[1].get("hours_seen", "0")))
    facts = {name: fact for name, fact in most.items() if name not in FACTS_OF_ONE_RUN}
    return model, {**facts, "mean_of": " ".join(weights_sha256(file)[:16] for file in files)}


if __name__ == "__main__":
    main()
