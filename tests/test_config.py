"""Configs survive JSON, and mistakes in them are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from truenet.config import (
    LossConfig,
    MixingConfig,
    TrainingConfig,
    TRUNetConfig,
    from_dict,
    read_config,
    to_dict,
)


@pytest.mark.parametrize(
    "config",
    [
        TRUNetConfig(),
        TRUNetConfig(hop_samples=256, sign="gumbel", features=("pcen",)),
        TrainingConfig(
            mixing=MixingConfig(speech=("a", "b"), snr_db=(0.0, 10.0)),
            loss=LossConfig(parts=(1.0, 0.0, 0.5)),
        ),
    ],
)
def test_json_and_back(config: Any) -> None:
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "unknown key 'stepz'; did you mean 'steps'"),
        ({"mixing": {"snr": [0, 1]}}, r"config.mixing: unknown key 'snr'; did you mean 'snr_db'"),
        ({"steps": "many"}, "config.steps: 'many' does not fit; expected int"),
        ({"steps": True}, "config.steps: True does not fit; expected int"),
        ({"model": {"sign": "soft"}}, "expected one of 'continuous', 'gumbel'"),
        ({"mixing": {"snr_db": [1]}}, "config.mixing.snr_db"),
        ({"model": {"hop_samples": 100}}, "the hop must be a half or a quarter of the window"),
        ({"model": {"encoder_strides": [2, 3, 2, 1, 2, 2]}}, "cannot be divided"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(TrainingConfig, values)


@pytest.mark.parametrize("text", ["{", "[1]", "\x00\x01"])
def test_files_that_hold_no_settings(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(TrainingConfig, path)


def test_recipes_in_the_repository_are_valid() -> None:
    recipes = list((Path(__file__).parents[1] / "recipes").glob("*.json"))
    assert recipes
    for recipe in recipes:
        assert read_config(TrainingConfig, recipe).steps > 0
