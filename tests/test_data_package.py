"""The data package of `truenet adapt`: what is held out is not trained on."""

import csv
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "data" / "truenet_data"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (PACKAGE / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_recording_voice_or_room_is_in_both_parts(rows: list[dict[str, str]]) -> None:
    def things(part: str) -> set[tuple[str, str]]:
        mine = [row for row in rows if row["part"] == part]
        recordings = {(row["source_repo"], row["original_file"]) for row in mine}
        voices = {("voice", row["speaker"]) for row in mine if row["kind"] == "speech"}
        rooms = {("room", Path(row["path"]).name) for row in mine if row["kind"] == "rir"}
        return recordings | voices | rooms

    assert not things("train") & things("heldout")
    assert Counter(row["kind"] for row in rows if row["part"] == "heldout")["rir"] == 8


def test_the_manifest_lists_the_files_and_no_others(rows: list[dict[str, str]]) -> None:
    audio = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("audio/**/*") if p.is_file()}
    assert sorted(row["path"] for row in rows) == sorted(audio)
