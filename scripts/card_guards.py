"""Goals and guards of the model card: what was asked, what users hate, and how the model does, in Markdown."""

from card_tables import (
    METRICS,
    OURS,
    PEERS,
    Line,
    Report,
    gain,
    group,
    number,
    systems,
    table,
)

KEPT = {
    "onset_kept_db": "first 0.15 s of talk kept, dB",
    "consonant_kept_db": "consonants kept, dB",
    "upper_band_kept_db": "4–8 kHz kept, dB",
    "level_difference_db": "level against the clean voice, dB",
}


def goals(scores: dict[str, Report]) -> str:
    """What was asked at least and aimed at, and what was reached."""
    mix, clean = group(scores["mix"]), group(scores["clean"])
    reverberant, voicebank = group(scores["mix"], "rev"), group(scores["pairs_voicebank"])
    asked = [
        ("PESQ-WB", "pesq_wb", 1.85, 2.10, mix["pesq_wb"]["enhanced"]),
        ("STOI", "stoi", 0.882, 0.905, mix["stoi"]["enhanced"]),
        ("SI-SDR, dB", "si_sdr_db", 10.8, 12.5, mix["si_sdr_db"]["enhanced"]),
        ("PESQ-WB gain in rooms", "pesq_wb", 0.45, 0.7, reverberant["pesq_wb"]["gain"]),
        ("PESQ-WB gain, VoiceBank pairs", "pesq_wb", 0.6, 1.0, voicebank["pesq_wb"]["gain"]),
        ("clean speech in: PESQ-WB out", "pesq_wb", 4.0, 4.3, clean["pesq_wb"]["enhanced"]),
    ]
    lines = [
        [title, number(least, m), number(aim, m), number(found, m), reached(found >= least)]
        for title, m, least, aim, found in asked
    ]
    level = clean["level_difference_db"]["enhanced"]
    change = number(level, sign="+")
    lines.append(["clean speech in: level, dB", "± 0.5", "", change, reached(abs(level) <= 0.5)])
    for one in scores["mix"]["groups"]:
        if one["name"].endswith("dB"):
            stoi = one["scores"]["stoi"]
            title = f"STOI gain at {one['name']}"
            lines.append([title, "> 0", "", gain(stoi, "stoi"), reached(stoi["gain"] > 0)])
    return table(["", "at least", "aim", "found", "reached"], lines)


def reached(yes: bool) -> str:
    return "yes" if yes else "**no**"


def guards(scores: dict[str, Report]) -> str:
    """Every guard, for ours and for the others."""
    reports = systems(scores, "mix")
    default = f"{OURS}, default faders"
    others = [title for title in reports if title != OURS]
    columns = ["noisy", OURS, default, *others]
    lines = [*kept_lines(reports, columns), *clean_lines(scores, columns)]
    keys = {OURS: "voice", default: "default"} | {title: name for name, title in PEERS.items()}
    pumped = {
        title: scores["guards"]["pumping"]["systems"].get(keys.get(title)) for title in columns
    }
    lines += pumping_lines(pumped)
    lines += faint_lines(scores["guards"]["faint"], [keys.get(title, "") for title in columns])
    music = scores["guards"]["music"]["level_change_db"]
    for piece in scores["guards"]["music"]["pieces"]:
        found = [music.get(keys.get(title), {}).get(piece) for title in columns]
        lines.append([f"music alone, `{piece}`: level change, dB", *map(number, found)])
    return table(["", *columns], lines)


def kept_lines(reports: dict[str, Report], columns: Line) -> list[Line]:
    """What is kept of the voice in the mixtures."""
    lines = []
    for metric, title in KEPT.items():
        found = {name: group(report)[metric]["enhanced"] for name, report in reports.items()}
        found["noisy"] = group(reports[OURS])[metric]["noisy"]
        lines.append([title, *(number(found.get(column)) for column in columns)])
    eaten = {name: group(report)["eaten_onsets"]["enhanced"] for name, report in reports.items()}
    eaten["noisy"] = group(reports[OURS])["eaten_onsets"]["noisy"]
    shares = (eaten.get(column) for column in columns)
    cells = ["–" if share is None else f"{share:.0%}" for share in shares]
    return [["talk spurts of which the first 0.15 s are eaten", *cells], *lines]


def clean_lines(scores: dict[str, Report], columns: Line) -> list[Line]:
    """Clean speech in."""
    reports = systems(scores, "clean") | {columns[2]: scores["clean_default"]}
    lines = []
    for metric, title in {"pesq_wb": "PESQ-WB", "stoi": "STOI", **KEPT}.items():
        found = {name: group(report)[metric]["enhanced"] for name, report in reports.items()}
        cells = (number(found.get(column), metric) for column in columns)
        lines.append([f"clean speech in: {title}", *cells])
    return lines


def pumping_lines(pumped: dict[str, Report | None]) -> list[Line]:
    """Steady noise in pauses."""
    rows = {
        "steady noise, 2 s into a pause, dB": lambda found: found["long_db"],
        "the same just after talk, above that, dB": lambda found: (
            found["after_db"] - found["long_db"]
        ),
        "how its level swings in a pause (standard deviation), dB": lambda found: found["swing_db"],
    }
    return [
        [title, *(number(value(found) if found else None) for found in pumped.values())]
        for title, value in rows.items()
    ]


def faint_lines(faint: Report, names: Line) -> list[Line]:
    """The same mixtures, fainter; beside the change how many of them have a score, if that is not all."""
    lines = []
    for index, fainter_db in enumerate(faint["fainter_db"]):
        cells = []
        for name in names:
            found = faint["pesq_wb"][name][index] if name in faint["pesq_wb"] else {}
            cell = number(found.get("change"), sign="+")
            is_all = found.get("scored", faint["clips"]) == faint["clips"]
            cells.append(cell if is_all else f"{cell} ({found['scored']} of {faint['clips']})")
        lines.append([f"mixtures {fainter_db} dB fainter: PESQ-WB change", *cells])
    return lines


def streams(scores: dict[str, Report]) -> str:
    """The last round of a long stream against the first, and speech after silence."""
    lines = []
    for part, title in (
        ("stream", "{:.0f} minutes of talk"),
        ("rested", "{:.0f} minutes of silence"),
    ):
        found = scores["guards"][part]
        for metric, score in found["scores"].items():
            change = gain({"gain": score["change"], "high": score["high"]}, metric)
            cells = [number(score["first"], metric), number(score["last"], metric), change]
            names = {**METRICS, **KEPT}
            lines.append([f"{title.format(found['minutes'])}: {names[metric]}", *cells])
    return table(["", "first", "after", "change"], lines)
