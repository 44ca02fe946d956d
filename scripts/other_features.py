#!/usr/bin/env python3
"""The weights of a network for one with other features: what both of them see keeps its weights, what is new starts
at zero, so that training can go on from there.

    python scripts/other_features.py truenet/models/truenet.safetensors -o START.safetensors \\
        --features log_magnitude pcen phase_advance
"""

import argparse
import dataclasses
import sys
import typing
from pathlib import Path

import torch

from truenet.config import Feature
from truenet.features import channels_of
from truenet.grids import GRIDS
from truenet.streaming import StreamingTRUNet
from truenet.weights import FACTS_OF_ONE_RUN, load_weights, save_weights, weights_sha256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--features", nargs="+", choices=typing.get_args(Feature), required=True)
    given = parser.parse_args()
    if given.output.exists():
        sys.exit(f"{given.output} exists; give another name, or remove it")
    try:
        model, facts = load_weights(given.weights)
    except ValueError as error:
        sys.exit(str(error))
    if GRIDS in facts:
        sys.exit(f"{given.weights} has weights in whole numbers; give those it was made of")
    facts = {name: fact for name, fact in facts.items() if name not in FACTS_OF_ONE_RUN}
    facts["made_from"] = weights_sha256(given.weights)
    save_weights(with_features(model, tuple(given.features)), given.output, facts)


def with_features(model: StreamingTRUNet, features: tuple[Feature, ...]) -> StreamingTRUNet:
    """A model with the weights of another, and these features."""
    other = StreamingTRUNet(dataclasses.replace(model.config, features=features))
    state = model.state_dict()
    before, after = (channels_of(m.config.features) for m in (model, other))
    first = torch.zeros_like(other.network.first.weight)
    for place, channel in enumerate(after):
        if channel in before:
            first[:, place] = state["network.first.weight"][:, before.index(channel)]
    other.load_state_dict({**state, "network.first.weight": first})
    return other.eval()


if __name__ == "__main__":
    main()
