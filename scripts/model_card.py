"""Fill the made parts of docs/MODEL_CARD.md and README.md from docs/scores and docs/DATA.md. `scripts/score` runs it.

    python scripts/model_card.py

A made part stands between `<!-- made: NAME -->` and `<!-- end -->`, and NAME is one of `PARTS`. People write the text
around it, and no scores into that.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import card_guards
import card_tables

ROOT = Path(__file__).parents[1]
SCORES = ROOT / "docs" / "scores"
DOCUMENTS = (ROOT / "docs" / "MODEL_CARD.md", ROOT / "README.md")
Scores = dict[str, dict[str, Any]]
PARTS: dict[str, Callable[[Scores], str]] = {
    "facts": card_tables.facts,
    "scores": lambda scores: card_tables.comparison(scores, "mix"),
    "voicebank": lambda scores: card_tables.comparison(scores, "pairs_voicebank"),
    "by_class": card_tables.by_class,
    "harm": card_tables.harm,
    "noises": card_tables.noises,
    "worst": card_tables.worst,
    "short": card_tables.short,
    "data": card_tables.data,
    "peers": card_tables.peers,
    "goals": card_guards.goals,
    "guards": card_guards.guards,
    "streams": card_guards.streams,
}


def main() -> None:
    scores = read_scores()
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text("utf-8"), scores), encoding="utf-8")


def read_scores() -> Scores:
    """Every report in docs/scores, by its file's name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in SCORES.glob("*.json")}


def filled(text: str, scores: Scores) -> str:
    """The document with its made parts made anew.

    Raises:
        ValueError: a part that nobody makes.
    """

    def made(found: re.Match[str]) -> str:
        if found[1] not in PARTS:
            raise ValueError(f"no part {found[1]!r}: choose from {', '.join(PARTS)}")
        return f"<!-- made: {found[1]} -->\n{PARTS[found[1]](scores)}\n<!-- end -->"

    return re.sub(r"<!-- made: (\w+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
