"""What a quantized model file loses against the float one: scores on pairs of files, and an hour of stream.

    python scripts/loss_of_int8.py CLEAN NOISY FLOAT.onnx INT8.onnx [--hour]

CLEAN and NOISY are folders as for `truenet evaluate`. With --hour, NOISY goes round and round for an hour through
both files: the range of the state, and the voice of the last minute against that of the first.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import soundfile

from truenet import evaluation
from truenet.modelfile import ModelFile
from truenet.verification import snr_db, voice_alone

METRICS = ("pesq_wb", "stoi", "si_sdr_db")
VOICE = np.array([[1, 0, 0]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clean", "noisy", "float_model", "int8_model"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--hour", action="store_true")
    given = parser.parse_args()
    models = [given.float_model, given.int8_model]
    if given.hour:
        an_hour(given.noisy, models)
        return
    pairs = evaluation.find_pairs(given.clean, given.noisy)
    rows = [
        list(evaluation.evaluate(pairs, evaluation.ModelEnhance(str(model)), METRICS))
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


def an_hour(folder: Path, models: list[Path]) -> None:
    """Range of the state in an hour, and how the last minute's voice follows the first's."""
    once = np.concatenate(
        [soundfile.read(path, dtype="float32")[0] for path in sorted(folder.glob("*.flac"))[:12]]
    )
    for path in models:
        model = ModelFile(path)
        recurrent = json.loads(model.metadata["state_layout"])[-1][1]
        minute = 60 * model.info.sample_rate_hz // model.info.hop_samples // 100 * 100
        audio = np.resize(once, minute * model.info.hop_samples)[None]
        step = 100 * model.info.hop_samples
        state, largest, voices = model.first_state(1), 0.0, []
        for number in range(60):
            outputs = []
            for begin in range(0, audio.shape[1], step):
                output, state = model.run(audio[:, begin : begin + step], state, VOICE)
                largest = max(largest, float(np.abs(state[0, -recurrent:]).max()))
                outputs.append(output)
            if number in (1, 59):  # not minute 0, which begins from an empty state
                voices.append(np.concatenate(outputs, axis=1))
        same_db = snr_db(*voices)
        same = "to the bit" if math.isinf(same_db) else f"{same_db:.0f} dB"
        print(
            f"{path.name}: recurrent state within ±{largest:.4f}, minute 60 as minute 2: {same}",
            flush=True,
        )


if __name__ == "__main__":
    main()
