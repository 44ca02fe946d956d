"""What users hate, measured: pumping noise, lost music, faint recordings, an hour of stream, minutes of silence.

    python scripts/guards.py ../shared/data/valid --json docs/scores/guards.json

Of the model in the package (voice alone, and with the default faders) and of the packages of the extra `benchmark`,
as far as they are installed. `scripts/score` runs it.
"""

import argparse
import csv
import dataclasses
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from truenet import Enhancer
from truenet.evaluation import ModelEnhance, Row, find_pairs, summarize
from truenet.faders import DEFAULT_NOISE_DB, DEFAULT_ROOM_DB
from truenet.guards import (
    Enhance,
    Samples,
    chords,
    first_and_last_round,
    level_change_db,
    pumping,
)
from truenet.metrics import SAMPLE_RATE_HZ, measure
from truenet.peers import PEERS, PeerEnhance

SPEECH = ("cmu_arctic/*", "picovoice_s2i/*")  # one utterance of each speaker
STEADY = ("esc10/rain/*.flac", "esc10/helicopter/*-A.flac", "precise_community/room/*.flac")
MUSIC = "sonicpi/music/*.flac"
PUMPING_SNR_DB = 10.0
FAINTER_DB = (10, 20)
STREAM_METRICS = ("pesq_wb", "stoi", "si_sdr_db", "level_difference_db", "onset_kept_db")
EVERY = 3  # every third mixture makes a minute, with every SNR and both kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("valid", type=Path, help="folder with mix, speech, noise and MANIFEST.csv")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the long stream")
    parser.add_argument("--rest", type=float, default=10.0, help="minutes of silence")
    given = parser.parse_args()
    systems = dict(installed())
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "pumping": lambda: pumping_of(systems, given.valid),
        "music": lambda: music_of(systems, given.valid),
        "faint": lambda: faint(systems, given.valid / "mix"),
        "stream": lambda: stream(given.valid / "mix", given.minutes),
        "rested": lambda: rested(given.valid / "mix", given.rest),
        "clips": lambda: clips(given.valid / "MANIFEST.csv"),
    }
    report: dict[str, Any] = {"weights_sha256": Enhancer().info.weights_sha256}
    for name, part in parts.items():
        started = time.monotonic()
        report[name] = part()
        print(f"guards: {name} took {time.monotonic() - started:.0f} s", file=sys.stderr)
    given.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def installed() -> Iterator[tuple[str, Enhance]]:
    """Ours twice, and the peers whose packages are there."""
    yield "voice", ModelEnhance()
    yield "default", ModelEnhance(room_db=DEFAULT_ROOM_DB, noise_db=DEFAULT_NOISE_DB)
    for name in PEERS:
        peer = PeerEnhance(name)
        try:
            peer.facts()
        except ImportError as error:
            print(f"guards: without {name}: {error}", file=sys.stderr)
        else:
            yield name, peer


def pumping_of(systems: dict[str, Enhance], valid: Path) -> dict[str, Any]:
    """Means over the steady noises."""
    folders = [folder for pattern in SPEECH for folder in sorted((valid / "speech").glob(pattern))]
    utterances = [read(min(folder.glob("*.flac"))) for folder in folders]
    paths = [path for pattern in STEADY for path in sorted((valid / "noise").glob(pattern))]
    noises = {path.relative_to(valid / "noise").as_posix(): read(path) for path in paths}
    noises["white"] = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    found: dict[str, Any] = {}
    for name, enhance in systems.items():
        each = [pumping(enhance, utterances, noise, PUMPING_SNR_DB) for noise in noises.values()]
        means = np.mean([dataclasses.astuple(one) for one in each], axis=0)
        fields = [field.name for field in dataclasses.fields(each[0])]
        found[name] = dict(zip(fields, means.tolist(), strict=True))
    return {"snr_db": PUMPING_SNR_DB, "noises": list(noises), "systems": found}


def music_of(systems: dict[str, Enhance], valid: Path) -> dict[str, Any]:
    """How much quieter music without any voice becomes."""
    pieces = {path.stem: read(path) for path in sorted((valid / "noise").glob(MUSIC))}
    pieces["chords (made)"] = chords()
    changes = {
        name: {piece: level_change_db(enhance, samples) for piece, samples in pieces.items()}
        for name, enhance in systems.items()
    }
    return {"pieces": list(pieces), "level_change_db": changes}


def faint(systems: dict[str, Enhance], mix: Path) -> dict[str, Any]:
    """By how much PESQ-WB changes when the same mixtures are fainter: means over those that have a score."""
    pairs = find_pairs(mix / "clean", mix / "noisy")[::EVERY]
    gains = [np.float32(10 ** (-fainter_db / 20)) for fainter_db in (0, *FAINTER_DB)]
    found: dict[str, list[dict[str, float | None]]] = {}
    for name, enhance in systems.items():
        rows: list[list[Row]] = [[] for _ in FAINTER_DB]
        for pair in pairs:
            clean, noisy = read(pair.clean), read(pair.noisy)
            outputs = [enhance(gain * noisy, SAMPLE_RATE_HZ) for gain in gains]
            before, *fainter = [measure(clean, output, ("pesq_wb",)) for output in outputs]
            for each, after in zip(rows, fainter, strict=True):
                each.append(Row(pair, len(noisy) / SAMPLE_RATE_HZ, before, after))
        changes = [summarize(each, "pesq_wb") for each in rows]
        found[name] = [
            {"scored": one.pairs, "change": one.gain if one.pairs else None} for one in changes
        ]
    return {"fainter_db": FAINTER_DB, "clips": len(pairs), "pesq_wb": found}


def stream(mix: Path, minutes: float) -> dict[str, Any]:
    """The first and the last round of some mixtures that go round and round, clip by clip."""
    enhancer = voice_alone()
    audio, pieces = a_round(mix, enhancer.hop_samples)
    rounds = max(2, round(minutes * 60 * SAMPLE_RATE_HZ / len(audio)))
    outputs = first_and_last_round(
        enhancer.process, enhancer.flush, audio, rounds, enhancer.latency_samples
    )
    streamed = rounds * len(audio) / SAMPLE_RATE_HZ / 60
    return {"minutes": streamed, **compared(mix, pieces, *outputs)}


def rested(mix: Path, minutes: float) -> dict[str, Any]:
    """A round from a fresh start, and one after minutes of silence."""
    enhancer = voice_alone()
    audio, pieces = a_round(mix, enhancer.hop_samples)
    fresh = np.concatenate([enhancer.process(audio), enhancer.flush()])
    for _ in range(round(minutes * 60)):
        enhancer.process(np.zeros(SAMPLE_RATE_HZ, np.float32))
    later = np.concatenate([enhancer.process(audio), enhancer.flush()])
    late = enhancer.latency_samples
    return {"minutes": minutes, **compared(mix, pieces, fresh[late:], later[late:])}


def voice_alone() -> Enhancer:
    return Enhancer(room_db=-math.inf, noise_db=-math.inf, whole_frames=True)


def a_round(mix: Path, hop_samples: int) -> tuple[Samples, list[slice]]:
    """Some mixtures one after the other, filled up to whole seconds, and where each lies."""
    signals = [read(pair.noisy) for pair in find_pairs(mix / "clean", mix / "noisy")[::EVERY]]
    ends = np.cumsum([len(signal) for signal in signals])
    pieces = [slice(end - len(one), end) for end, one in zip(ends, signals, strict=True)]
    audio = np.concatenate(signals)
    return np.pad(audio, (0, -len(audio) % math.lcm(SAMPLE_RATE_HZ, hop_samples))), pieces


def compared(mix: Path, pieces: list[slice], first: Samples, last: Samples) -> dict[str, Any]:
    """Means of the scores then and now, and the change with its 95 % interval."""
    rows = []
    pairs = find_pairs(mix / "clean", mix / "noisy")[::EVERY]
    for pair, piece in zip(pairs, pieces, strict=True):
        scores = [
            measure(read(pair.clean), output[piece], STREAM_METRICS) for output in (first, last)
        ]
        rows.append(Row(pair, (piece.stop - piece.start) / SAMPLE_RATE_HZ, *scores))
    summaries = {name: summarize(rows, name) for name in STREAM_METRICS}
    return {
        "clips": len(rows),
        "scores": {
            name: {
                "first": found.noisy,
                "last": found.enhanced,
                "change": found.gain,
                "low": found.low,
                "high": found.high,
            }
            for name, found in summaries.items()
        },
    }


def clips(manifest: Path) -> dict[str, dict[str, Any]]:
    """What each mixture is made of, by its name."""
    found = {}
    with manifest.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "mix_clean":
                room = re.search(r"rt60 ([\d.]+) dist ([\d.]+)", row["original_file"])
                found[Path(row["path"]).stem] = {
                    "speaker": row["speaker"],
                    "noise": row["class"].split()[0],
                    "reverberation_s": float(room[1]) if room else None,
                    "distance_m": float(room[2]) if room else None,
                }
    return found


def read(path: Path) -> Samples:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    if rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"{path} has {rate_hz} Hz; expected {SAMPLE_RATE_HZ}")
    return np.asarray(samples)


if __name__ == "__main__":
    main()
