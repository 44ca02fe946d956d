"""What minutes of silence do to the speech after them: SI-SDR of ten-second pieces, fresh and after the silence.

    python scripts/after_silence.py MODEL.onnx [--minutes 10]

The speech is that of samples/: café and machine, again and again for a minute, the voice alone.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from truenet.metrics import si_sdr_db
from truenet.modelfile import ModelFile
from truenet.verification import run_calls

SAMPLES = Path(__file__).parents[1] / "samples"
VOICE = np.array([[1, 0, 0]], np.float32)
Samples = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    model = ModelFile(arguments.model)
    rate_hz, latency, hop = (
        model.info.sample_rate_hz,
        model.info.latency_samples,
        model.info.hop_samples,
    )
    noisy, clean = (speech(folder, 60 * rate_hz) for folder in (SAMPLES, SAMPLES / "clean"))
    silence = np.zeros((1, round(arguments.minutes * 60 * rate_hz) // hop * hop), np.float32)
    fresh, _ = run_calls(model, noisy[None], VOICE)
    _, rested = run_calls(model, silence, VOICE)
    after, _ = run_calls(model, noisy[None], VOICE, state=rested)
    piece = 10 * rate_hz
    for begin in range(0, fresh.shape[1] - piece - latency + 1, piece):
        reference = clean[begin : begin + piece]
        late = slice(begin + latency, begin + latency + piece)
        before, now = (si_sdr_db(reference, output[late]) for output in (fresh[0], after[0]))
        print(f"{begin // rate_hz:2d} s  fresh {before:.2f} dB  after silence {now:.2f} dB")


def speech(folder: Path, length: int) -> Samples:
    parts = [soundfile.read(folder / f"{n}.flac", dtype="float32")[0] for n in ("cafe", "machine")]
    return np.resize(np.concatenate(parts), length)


if __name__ == "__main__":
    main()
