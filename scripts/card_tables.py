"""Tables of docs/scores for the model card, in Markdown. `model_card.py` puts them into the documents."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from truenet.evaluation import Pair, Row, summarize

OURS = "truenet"
PEERS = {
    "noisereduce": "noisereduce",
    "webrtc": "WebRTC NS",
    "rnnoise": "RNNoise",
    "fastenhancer": "FastEnhancer-T",
    "dtln": "DTLN",
    "gtcrn": "GTCRN",
    "deepfilternet": "DeepFilterNet3",
}
METRICS = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "si_sdr_db": "SI-SDR, dB"}
DATA = Path(__file__).parents[1] / "docs" / "DATA.md"
HARM_STOI, HARM_PESQ = -0.05, -0.1
WRONG = {  # beyond these the words are said of a clip
    "level_difference_db": (-2.0, "voice is lost"),
    "onset_kept_db": (-3.0, "onsets are cut"),
    "consonant_kept_db": (-6.0, "consonants are gone"),
    "upper_band_kept_db": (-8.0, "the upper band is gone"),
}
WRONG_HEADS = ("level", "onsets", "consonants", "4–8 kHz", "left over")
LEFT_OVER_DB = -13.0
Report = dict[str, Any]
Line = list[str]


def table(head: Line, lines: Iterable[Line], right: bool = True) -> str:
    marks = ["---", *["---:" if right else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *lines))


def number(value: float | None, metric: str = "", sign: str = "") -> str:
    digits = 3 if "stoi" in metric else 2
    return (
        "–" if value is None else f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")
    )


def gain(score: Report, metric: str) -> str:
    """A gain with half the width of its 95 % interval."""
    if score["gain"] is None:
        return "–"
    half = "" if score["high"] is None else f" ± {number(score['high'] - score['gain'], metric)}"
    return number(score["gain"], metric, "+") + half


def systems(scores: dict[str, Report], pairs: str) -> dict[str, Report]:
    """The reports on these pairs, ours first, by names for people."""
    found = {OURS: scores[pairs]}
    return found | {
        title: scores[f"{pairs}_{name}"]
        for name, title in PEERS.items()
        if f"{pairs}_{name}" in scores
    }


def group(report: Report, name: str = "all") -> dict[str, Report]:
    return next(group["scores"] for group in report["groups"] if group["name"] == name)


def facts(scores: dict[str, Report]) -> str:
    """What the model is and costs."""
    model, weights = scores["model"], scores["weights"]
    macs = weights["multiply-accumulates a second"] / 1e9
    whole_ms = model["latency_ms"] + 1000 * model["hop_samples"] / model["sample_rate_hz"]
    lengths = f"{model['hop_samples']}, {model['window_samples']} samples"
    sha, (commit, _, dirty) = model["weights_sha256"][:16], weights["commit"].partition("-")
    lines = {
        "network": model["name"],
        "parameters": f"{weights['parameters']:,}",
        "multiply-accumulates a second": f"{macs:.2f} billion",
        "sample rate; hop, window": f"{model['sample_rate_hz']} Hz; {lengths}",
        "latency": f"{model['latency_ms']:.0f} ms; {whole_ms:.0f} ms from sample in to sample out",
        "file": f"`{model['file']}`, {model['bytes']:,} bytes, {model['precision']}",
        "heard in training": f"{float(weights['hours_seen']):.1f} hours of mixtures",
        "training data": model["training_data"],
        "weights": f"SHA-256 `{sha}…`, made at commit `{commit[:12]}`{' with changes' if dirty else ''}",
        "licence": model["licence"],
    }
    return table(["", ""], ([name, value] for name, value in lines.items()), right=False)


def comparison(scores: dict[str, Report], pairs: str) -> str:
    """Means of everything, and how far ours is above."""
    reports = systems(scores, pairs)
    noisy = group(reports[OURS])
    lines = [["noisy", *(number(noisy[m]["noisy"], m) for m in METRICS), ""]]
    for title, report in reports.items():
        means = group(report)
        shown = [f"{number(means[m]['enhanced'], m)} ({gain(means[m], m)})" for m in METRICS]
        lines.append([title, *shown, above(reports[OURS], report) if title != OURS else ""])
    return table(["", *METRICS.values(), "truenet above it, PESQ-WB"], lines)


def above(ours: Report, other: Report) -> str:
    """The paired difference in PESQ-WB."""
    theirs = {file["name"]: file for file in other["files"]}
    rows = [
        Row(Pair(file["name"], Path(), Path()), file["seconds"], *(
            {"pesq_wb": one["enhanced"]["pesq_wb"]} for one in (theirs[file["name"]], file)
        ))
        for file in ours["files"]
        if file["enhanced"]["pesq_wb"] and theirs[file["name"]]["enhanced"]["pesq_wb"]
    ]  # fmt: skip
    found = summarize(rows, "pesq_wb")
    return gain({"gain": found.gain, "high": found.high}, "pesq_wb")


def by_class(scores: dict[str, Report]) -> str:
    """One table a metric: systems down, SNR classes and kinds across."""
    reports = systems(scores, "mix")
    names = [group["name"] for group in reports[OURS]["groups"] if group["name"] != "all"]
    tables = []
    for metric, heading in METRICS.items():
        noisy = [number(group(reports[OURS], name)[metric]["noisy"], metric) for name in names]
        lines = [["noisy", *noisy]]
        lines += [
            [f"{title}: gain", *(gain(group(report, name)[metric], metric) for name in names)]
            for title, report in reports.items()
        ]
        tables.append(table([f"**{heading}**", *names], lines))
    return "\n\n".join(tables)


def harm(scores: dict[str, Report]) -> str:
    """How often each makes a recording worse."""
    lines = []
    for title, report in systems(scores, "mix").items():
        gains = [file["gain"] for file in report["files"]]
        stoi = [one["stoi"] for one in gains if one["stoi"] is not None]
        pesq = [one["pesq_wb"] for one in gains if one["pesq_wb"] is not None]
        lines.append(
            [
                title,
                f"{sum(one < HARM_STOI for one in stoi)} of {len(stoi)}",
                number(min(stoi), "stoi", "+"),
                f"{sum(one < HARM_PESQ for one in pesq)} of {len(pesq)}",
            ]
        )
    head = [f"STOI down by more than {-HARM_STOI}", "worst STOI change"]
    return table(["", *head, f"PESQ-WB down by more than {-HARM_PESQ}"], lines)


def noises(scores: dict[str, Report]) -> str:
    """What each kind of noise gains, least first."""
    found = defaultdict(list)
    for file in scores["mix"]["files"]:
        found[scores["guards"]["clips"][file["name"]]["noise"]].append(file["gain"])
    means = {
        noise: {metric: mean(gain[metric] for gain in gains) for metric in METRICS}
        for noise, gains in found.items()
    }
    return table(
        ["noise", "clips", *METRICS.values()],
        (
            [noise, str(len(found[noise])), *(number(v, m, "+") for m, v in means[noise].items())]
            for noise in sorted(means, key=lambda noise: means[noise]["stoi"])
        ),
    )


def mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def worst(scores: dict[str, Report]) -> str:
    """The clips that gain least, with what explains it."""
    report = scores["mix"]
    by_stoi = sorted(report["files"], key=stoi_gain)[:5]
    names = list(dict.fromkeys([*report["worst"], *(file["name"] for file in by_stoi)]))
    files = {file["name"]: file for file in report["files"]}
    head = ["clip", "noise", "room", "PESQ-WB", "STOI", *WRONG_HEADS, "what is wrong"]
    return table(head, (worst_line(files[name], scores["guards"]["clips"][name]) for name in names))


def stoi_gain(file: Report) -> float:
    """With what could not be scored, a silent estimate, as the worst."""
    found: float | None = file["gain"]["stoi"]
    return -math.inf if found is None else found


def worst_line(file: Report, clip: Report) -> Line:
    room = "none"
    if clip["reverberation_s"]:
        room = f"{clip['reverberation_s']} s, {clip['distance_m']} m"
    changes = [
        f"{number(file['noisy'][m], m)} → {number(file['enhanced'][m], m)}"
        for m in ("pesq_wb", "stoi")
    ]
    shown = (file["enhanced"][name] for name in (*WRONG, "left_over_db"))
    numbers = [number(value, sign="+") for value in shown]
    return [f"`{file['name']}`", clip["noise"], room, *changes, *numbers, diagnosis(file)]


def diagnosis(file: Report) -> str:
    """In words, which of its numbers stand out."""
    found = file["enhanced"]
    said = [
        words
        for name, (limit_db, words) in WRONG.items()
        if found[name] is not None and found[name] < limit_db
    ]
    if found["left_over_db"] is not None and found["left_over_db"] > LEFT_OVER_DB:
        said.append("noise or room is left")
    return ", ".join(said) or "nothing that these numbers show"


def short(scores: dict[str, Report]) -> str:
    """The table of README."""
    pairs, hours = group(scores["mix"]), float(scores["weights"]["hours_seen"])
    count = scores["mix"]["groups"][0]["pairs"]
    lines = [["noisy", *(number(pairs[m]["noisy"], m) for m in METRICS)]]
    for title, report in systems(scores, "mix").items():
        means = group(report)
        lines.append(
            [title, *(f"{number(means[m]['enhanced'], m)} ({gain(means[m], m)})" for m in METRICS)]
        )
    said = (
        f"Means over {count} mixtures; in brackets the gain over the noisy input with its 95 % "
        f"interval. The weights have heard {hours:.0f} hours of audio."
    )
    return f"{table(['', *METRICS.values()], lines)}\n\n{said}"


def data(_: dict[str, Report]) -> str:
    """Minutes by kind and licence, from docs/DATA.md."""
    kind, minutes = "", defaultdict[tuple[str, str], float](float)
    for line in DATA.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            kind = line[3:].partition(":")[0]
        elif len(cells) == 4 and re.fullmatch(r"[\d.]+", cells[3]):
            minutes[kind, licence(cells[2])] += float(cells[3])
    rows = sorted(minutes.items(), key=lambda item: (item[0][0] != "Speech", item[0][0], -item[1]))
    return table(["what", "licence", "minutes"], ([*key, f"{value:.1f}"] for key, value in rows))


def peers(scores: dict[str, Report]) -> str:
    """Which versions were run, and the delay that was taken back."""
    lines = []
    for name, title in PEERS.items():
        if f"mix_{name}" not in scores:
            lines.append([title, "not installed: not run", "", ""])
            continue
        ran = scores[f"mix_{name}"]["settings"]["peer"]
        delay = f"{number(ran['delay_ms'])} ms"
        lines.append([title, f"`{ran['package']}`", ran["version"], delay])
    return table(["", "package", "version", "delay taken back"], lines)


def licence(text: str) -> str:
    """Without the author."""
    if text.startswith("as its"):
        return "made of the others"
    found = re.match(r"CC0-1\.0|CC-BY(-[34]\.0)?|Apache-2\.0|MIT|public domain", text)
    return found[0] if found else re.split(r"[;(]", text)[0].strip()
