"""What a quantized model file loses against the float one: scores on pairs of files, and an hour of stream.

    python scripts/loss_of_int8.py CLEAN NOISY FLOAT.onnx INT8.onnx [--hour]

CLEAN and NOISY are folders as for `truenet evaluate`. With --hour, the first minute of NOISY goes round and round for
an hour through both files: scores of minutes 1, 2, 30 and 60, and the range of every part of the state.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from truenet import evaluation
from truenet.fifo import Samples
from truenet.metrics import pesq_wb, si_sdr_db, stoi
from truenet.modelfile import ModelFile
from truenet.verification import run_calls, snr_db, voice_alone

METRICS = {"pesq_wb": pesq_wb, "stoi": stoi, "si_sdr_db": si_sdr_db}
VOICE = np.array([[1, 0, 0]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clean", "noisy", "float_model", "int8_model"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--hour", action="store_true")
    given = parser.parse_args()
    models = [given.float_model, given.int8_model]
    pairs = evaluation.find_pairs(given.clean, given.noisy)
    if given.hour:
        an_hour(pairs, models)
        return
    rows = [
        list(evaluation.evaluate(pairs, evaluation.ModelEnhance(str(model)), tuple(METRICS)))
        for model in models
    ]
    for metric in METRICS:
        scores = np.array([[row.enhanced[metric] for row in found] for found in rows])
        change = scores[1] - scores[0]
        change = change[np.isfinite(change)]
        print(
            f"{metric:<10} float {np.nanmean(scores[0]):.4f}  int8 {np.nanmean(scores[1]):.4f}  "
            f"change {change.mean():+.4f}, worst {change.min():+.4f}, best {change.max():+.4f}"
        )
    ratios = []
    for pair in pairs:
        noisy = soundfile.read(pair.noisy, dtype="float32")[0]
        ratios.append(snr_db(*(voice_alone(ModelFile(model), noisy) for model in models)))
    print(f"SNR of int8 against float: mean {np.mean(ratios):.1f} dB, least {min(ratios):.1f} dB")


def an_hour(pairs: list[evaluation.Pair], models: list[Path]) -> None:
    """Range of the state in an hour of the same minute, and the scores of some of the minutes."""
    noisy, clean, ends = one_minute(pairs)
    ranges = []
    for path in models:
        model = ModelFile(path)
        hop, latency = model.info.hop_samples, model.info.latency_samples
        padded = np.pad(noisy, (0, latency + -(len(noisy) + latency) % hop))[None]
        state, highest = model.first_state(1), np.zeros(model.info.state_size)
        for minute in range(1, 61):
            outputs = []
            for begin in range(0, padded.shape[1], 100 * hop):
                output, state = run_calls(
                    model, padded[:, begin : begin + 100 * hop], VOICE, state=state
                )
                highest = np.maximum(highest, np.abs(state[0]))
                outputs.append(output[0])
            if minute in (1, 2, 30, 60):
                voice = np.concatenate(outputs)[latency : latency + len(noisy)]
                print(f"{path.name} minute {minute}: {scores(voice, clean, ends)}", flush=True)
        layout = json.loads(model.metadata["state_layout"])
        pieces = np.split(highest, np.cumsum([size for _, size in layout])[:-1])
        ranges.append({name: piece.max() for (name, _), piece in zip(layout, pieces, strict=True)})
    for name, largest in ranges[0].items():
        print(f"{name}: largest magnitude float {largest:.4f}, int8 {ranges[1][name]:.4f}")


def scores(voice: Samples, clean: Samples, ends: list[int]) -> str:
    """Means over the recordings of a minute."""
    pieces = [*zip(np.split(clean, ends), np.split(voice, ends), strict=True)]
    means = {name: np.mean([metric(*pair) for pair in pieces]) for name, metric in METRICS.items()}
    return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())


def one_minute(pairs: list[evaluation.Pair]) -> tuple[Samples, Samples, list[int]]:
    """A minute of noisy and clean recordings one after the other, and where each but the last ends."""
    noisy, clean, ends = [], [], [0]
    for pair in pairs:
        noisy.append(soundfile.read(pair.noisy, dtype="float32")[0])
        clean.append(soundfile.read(pair.clean, dtype="float32")[0])
        ends.append(ends[-1] + len(noisy[-1]))
        if ends[-1] >= 60 * 16_000:
            break
    return np.concatenate(noisy), np.concatenate(clean), ends[1:-1]


if __name__ == "__main__":
    main()
