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

SAMPLES = Path(__file__).parents[1] / "samples"
VOICE = np.array([[1, 0, 0]], np.float32)
FRAMES_A_CALL = 100
Samples = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    model = ModelFile(arguments.model)
    rate_hz, latency = model.info.sample_rate_hz, model.info.latency_samples
    noisy, clean = speech(SAMPLES, 60 * rate_hz), speech(SAMPLES / "clean", 60 * rate_hz)
    silence = np.zeros(round(arguments.minutes * 60 * rate_hz), np.float32)
    fresh, _ = run(model, noisy, model.first_state(1))
    _, rested = run(model, silence, model.first_state(1))
    after, _ = run(model, noisy, rested)
    piece = 10 * rate_hz
    for begin in range(0, len(fresh) - piece - latency + 1, piece):
        reference = clean[begin : begin + piece]
        late = slice(begin + latency, begin + latency + piece)
        before, now = (si_sdr_db(reference, output[late]) for output in (fresh, after))
        print(f"{begin // rate_hz:2d} s  fresh {before:.2f} dB  after silence {now:.2f} dB")


def speech(folder: Path, length: int) -> Samples:
    parts = [soundfile.read(folder / f"{n}.flac", dtype="float32")[0] for n in ("cafe", "machine")]
    return np.resize(np.concatenate(parts), length)


def run(model: ModelFile, samples: Samples, state: Samples) -> tuple[Samples, Samples]:
    step = FRAMES_A_CALL * model.info.hop_samples
    outputs = []
    for begin in range(0, len(samples) - step + 1, step):
        output, state = model.run(samples[None, begin : begin + step], state, VOICE)
        outputs.append(output[0])
    return np.concatenate(outputs), state


if __name__ == "__main__":
    main()
