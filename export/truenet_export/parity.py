"""Does a model file do what the weights that it names do in PyTorch?"""

from pathlib import Path

import soundfile
import torch

from truenet.modelfile import ModelFile
from truenet.validation import enhance
from truenet.verification import CHECK_RECORDING, Check, snr_db, voice_alone
from truenet.weights import load_weights, weights_sha256

_SMALLEST_SNR_DB = {"float32": 90.0, "int8": 25.0}


def parity(path: Path, weights: Path) -> Check:
    """Compare a model file with weights on the recording in the package.

    Raises:
        ValueError: either file cannot be read.
    """
    model = ModelFile(path)
    reference, _ = load_weights(weights)
    if model.info.weights_sha256 != weights_sha256(weights):
        return Check("parity", False, f"it was not made from {weights.name} (SHA-256 differs)")
    noisy = soundfile.read(CHECK_RECORDING, dtype="float32")[0][:, 0]
    expected = enhance(reference, torch.from_numpy(noisy.copy())).numpy()
    level_db = snr_db(expected, voice_alone(model, noisy))
    bound_db = _SMALLEST_SNR_DB.get(model.info.precision, 90.0)
    found = f"{level_db:.1f} dB to its weights in PyTorch, {bound_db:.0f} asked"
    return Check("parity", level_db >= bound_db, found)
