"""The model card and README show the scores of the weights that are in the package."""

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from truenet.modelfile import ModelFile

ROOT = Path(__file__).parents[1]
AGAIN = "run: bash scripts/score"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("model_card")


def test_what_is_shown_is_what_was_measured(card: Any) -> None:
    scores = card.read_scores()
    for document in card.DOCUMENTS:
        text = document.read_text("utf-8")
        assert text.count("<!-- made: ") == text.count("<!-- end -->") > 0
        assert card.filled(text, scores) == text, f"{document.name} is old: {AGAIN}"


def test_the_weights_in_the_package_were_measured(card: Any) -> None:
    shipped = ModelFile().info.weights_sha256
    scores = card.read_scores()
    assert scores["model"]["weights_sha256"] == shipped, AGAIN
    assert scores["guards"]["weights_sha256"] == shipped, AGAIN
    assert set(scores["weights"]) >= {"hours_seen", "training_data", "commit"}


def test_every_picture_and_sound_of_the_card_is_there(card: Any) -> None:
    text = card.DOCUMENTS[0].read_text("utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]


def test_another_score_is_another_table(card: Any) -> None:
    scores = card.read_scores()
    other = copy.deepcopy(scores)
    other["mix"]["groups"][0]["scores"]["pesq_wb"]["enhanced"] = 4.321
    text = card.DOCUMENTS[1].read_text("utf-8")
    assert "4.32" in card.filled(text, other)
    assert "4.32" not in card.filled(text, scores)


def test_a_peer_that_did_not_run_is_left_out_and_said(card: Any) -> None:
    scores = {name: report for name, report in card.read_scores().items() if "webrtc" not in name}
    peers = card.PARTS["peers"](scores)
    assert "WebRTC NS | not installed" in peers
    for part in ("scores", "by_class", "harm"):
        assert "WebRTC" not in card.PARTS[part](scores)
        assert "RNNoise" in card.PARTS[part](scores)


def test_a_part_that_nobody_makes_is_refused(card: Any) -> None:
    with pytest.raises(ValueError, match="no part 'sores': choose from facts"):
        card.filled("<!-- made: sores -->\n<!-- end -->", {})


@pytest.mark.parametrize(
    ("value", "metric", "sign", "text"),
    [
        (1.006, "pesq_wb", "", "1.01"),
        (-0.0004, "stoi", "+", "+0.000"),
        (-0.5, "si_sdr_db", "+", "−0.50"),
        (None, "stoi", "", "–"),
    ],
)
def test_numbers(card: Any, value: float | None, metric: str, sign: str, text: str) -> None:
    assert importlib.import_module("card_tables").number(value, metric, sign) == text


def test_faint_mixtures_without_a_score_are_counted(card: Any) -> None:
    scores = card.read_scores()
    found = [{"scored": 13, "change": -0.5}, {"scored": 0, "change": None}]
    scores["guards"]["faint"]["pesq_wb"]["dtln"] = found
    table = card.PARTS["guards"](scores)
    assert "−0.50 (13 of 20)" in table
    assert "– (0 of 20)" in table
