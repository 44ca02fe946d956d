"""A few minutes of openly licensed speech, noise and rooms (16 kHz, mono), beside their manifest."""

from pathlib import Path
from typing import Literal


def folder(part: Literal["train", "heldout"], kind: Literal["speech", "noise", "rooms"]) -> Path:
    """The folder of the recordings of a kind; `heldout` is other voices, noises and rooms."""
    return Path(__file__).parent / "audio" / part / kind
