"""Write the self-test of the web page: a piece of a sample, and what the shipped model makes of it; and the same of
the float model for apps/web/test.

Run it after the weights have changed (tests/test_page.py says when): PYTHONPATH=. python scripts/web_vector.py
"""

import base64
import json
from pathlib import Path

import numpy as np
import soundfile

from truenet.modelfile import SHIPPED_MODEL, ModelFile

ROOT = Path(__file__).parents[1]
WEB = ROOT / "apps" / "web"
VECTORS = {
    WEB / "selftest.json": SHIPPED_MODEL,
    WEB / "test" / "float32.json": SHIPPED_MODEL.with_name("truenet_float32.onnx"),
}
# 0.2 s of speech under a chainsaw. Whole numbers round another way where sums differ in their last bit; in the second
# before, where the chainsaw is louder, that changes the voice much more.
FIRST_SAMPLE, FRAMES = 32_000, 24
FADERS = np.array([[1.0, 0.25, 0.0]], np.float32)


def main() -> None:
    """Write both."""
    for target, model in VECTORS.items():
        target.write_text(json.dumps(vector(ModelFile(model)), indent=1) + "\n", encoding="utf-8")


def vector(model: ModelFile) -> dict[str, object]:
    """Input and output of a model."""
    samples, _ = soundfile.read(ROOT / "samples" / "machine.flac", dtype="float32")
    audio = samples[FIRST_SAMPLE : FIRST_SAMPLE + FRAMES * model.info.hop_samples][np.newaxis]
    enhanced, _ = model.run(audio, model.first_state(1), FADERS)
    return {
        "weights_sha256": model.info.weights_sha256,
        "faders": FADERS[0].tolist(),
        "audio": base64.b64encode(audio.astype("<f4").tobytes()).decode(),
        "enhanced": base64.b64encode(enhanced.astype("<f4").tobytes()).decode(),
    }


if __name__ == "__main__":
    main()
