"""The report of an adaptation as one HTML page: verdict, scores, sounds and a picture, all within the file."""

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from truenet_apps.adapt_report import MOST_LOST_PESQ

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2433; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.verdict { padding: .6rem 1rem; border-radius: .5rem }
.yes { background: #e3f4e6 } .no { background: #fbe9d9 } table { border-collapse: collapse }
td, th { padding: .2rem .9rem .2rem 0; text-align: right } td:first-child, th:first-child { text-align: left }
small, .faint { color: #5d6678 } img { width: 100% } audio { width: 100%; max-width: 24rem }
"""
_TITLES = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "si_sdr_db": "SI-SDR, dB"}
_DOMAINS = {
    "new": "Here: the new domain",
    "original": "Elsewhere: the original domain",
    "int8": "Here, with the int8 model",
}


def write_page(
    path: Path,
    name: str,
    facts: Mapping[str, Any],
    signals: Mapping[str, NDArray[np.float32]],
    rate_hz: int,
    picture: bytes | None,
) -> None:
    """Write the page, in place of `path` only once complete.

    Args:
        path: of the .html file.
        name: of the adapter.
        facts: as in the JSON report.
        signals: (samples,) by title, of one held-out mixture.
        rate_hz: of the signals.
        picture: a PNG; None where none could be drawn.
    """
    body = [
        f"<h1>{html.escape(name)}</h1>",
        _verdict(facts),
        *(_table(title, facts, part) for part, title in _DOMAINS.items() if facts.get(part)),
        _strength(facts["strength"]),
        "<h2>One held-out mixture, to listen to</h2>",
        *(_sound(title, samples, rate_hz) for title, samples in signals.items()),
        _image(picture),
        "<h2>What was done</h2>",
        _list([facts["found"], facts["trained_words"], *facts["warnings"]]),
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)


def _verdict(facts: Mapping[str, Any]) -> str:
    if facts["success"]:
        return f'<p class="verdict yes">Better here. {html.escape(_elsewhere(facts))}</p>'
    return f'<div class="verdict no">No success.{_list(facts["problems"])}</div>'


def _elsewhere(facts: Mapping[str, Any]) -> str:
    """What it cost in the original domain, in words."""
    change = _number(facts["original"]["pesq_wb"]["change"], 2, "+")
    return f"Elsewhere PESQ-WB changed by {change}; a loss of {MOST_LOST_PESQ} is allowed."


def _table(title: str, facts: Mapping[str, Any], part: str) -> str:
    rows = []
    for metric, name in _TITLES.items():
        found, digits = facts[part][metric], 3 if metric == "stoi" else 2
        noisy, before, after = (_number(found[key], digits) for key in ("noisy", "before", "after"))
        change, low, high = (_number(found[key], digits, "+") for key in ("change", "low", "high"))
        cells = (name, noisy, before, after, f"<b>{change}</b> ({low} to {high})")
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    head = "".join(f"<th>{word}</th>" for word in ("", "noisy", "before", "after", "change (95 %)"))
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    held_out = html.escape(facts["held_out"]["original" if part == "original" else "new"])
    return f"<h2>{title}</h2><table><tr>{head}</tr>{lines}</table><small>{held_out}</small>"


def _strength(facts: Mapping[str, Any]) -> str:
    """What was tried between the base and all that was learned, and what was taken."""
    rows = []
    for trial in facts["trials"]:
        changes = (_number(trial[domain], 3, "+") for domain in ("here", "elsewhere"))
        cells = (f"{trial['strength']:g}", *changes)
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{word}</th>" for word in ("", "here", "elsewhere"))
    table = f"<table><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""
    words = html.escape(facts["words"])
    note = "<small>PESQ-WB, change over mixtures of other recordings than the report's</small>"
    return f"<h2>How much of it is used</h2><p>{words}</p>{table}{note if rows else ''}"


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return "none" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def _sound(title: str, samples: NDArray[np.float32], rate_hz: int) -> str:
    memory = io.BytesIO()
    soundfile.write(memory, np.clip(samples, -1, 1), rate_hz, format="FLAC", subtype="PCM_16")
    source = f"data:audio/flac;base64,{base64.b64encode(memory.getvalue()).decode()}"
    return f'<p>{html.escape(title)}<br><audio controls src="{source}"></audio></p>'


def _image(picture: bytes | None) -> str:
    if picture is None:
        return ""
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    words = "Curves of the losses; spectrograms of the sounds above"
    return f'<h2>Losses while training, and that mixture</h2><img alt="{words}" src="{source}">'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
