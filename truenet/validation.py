"""Scores of a model in training on pairs of clean and noisy files: which weights to keep."""

import statistics
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from truenet.metrics import pesq_wb, si_sdr_db, stoi
from truenet.streaming import StreamingTRUNet

_METRICS = {"pesq_wb": pesq_wb, "stoi": stoi, "si_sdr_db": si_sdr_db}


def validate(model: StreamingTRUNet, folder: Path) -> dict[str, float]:
    """Means of `score_pairs`, of the pairs that have the score."""
    rows = score_pairs(model, folder)
    return {
        name: statistics.fmean(row[name] for row in rows if row[name] == row[name])
        for name in _METRICS
    }


def score_pairs(model: StreamingTRUNet, folder: Path) -> list[dict[str, float]]:
    """Scores of the voice alone (faders 1, 0, 0), pair by pair; NaN where there is none.

    Args:
        model: in evaluation mode.
        folder: with mono files of equal names in `clean` and `noisy`, at the model's rate.

    Raises:
        ValueError: no pairs, or a file at another rate.
    """
    noisy_files = sorted((folder / "noisy").glob("*.flac")) + sorted(
        (folder / "noisy").glob("*.wav")
    )
    if not noisy_files:
        raise ValueError(
            f"validation folder {folder} has no .flac or .wav files in {folder / 'noisy'}"
        )
    rows = []
    for noisy_file in noisy_files:
        clean = _read(folder / "clean" / noisy_file.name, model.config.sample_rate_hz)
        enhanced = enhance(model, _read(noisy_file, model.config.sample_rate_hz))
        rows.append(
            {name: metric(clean.numpy(), enhanced.numpy()) for name, metric in _METRICS.items()}
        )
    return rows


def merit(scores: dict[str, float]) -> float:
    """One number to choose weights by: a tenth of PESQ-WB counts as much as 1 dB of SI-SDR and 0.01 of STOI."""
    return scores["pesq_wb"] + scores["si_sdr_db"] / 10 + 10 * scores["stoi"]


@torch.no_grad()
def enhance(
    model: StreamingTRUNet, samples: Tensor, faders: tuple[float, float, float] = (1, 0, 0)
) -> Tensor:
    """Enhance one signal (samples,) with the PyTorch model; aligned and equally long."""
    hop, latency = model.config.hop_samples, model.config.latency_samples
    device = model.stft.window.device
    frames = -(-(len(samples) + latency) // hop)
    padded = torch.nn.functional.pad(samples.to(device), (0, frames * hop - len(samples)))
    gains = torch.tensor([faders], device=device, dtype=padded.dtype)
    enhanced, _ = model(padded[None], model.initial_state(1), gains)
    return enhanced[0, latency : latency + len(samples)].cpu()


def _read(path: Path, sample_rate_hz: int) -> Tensor:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != sample_rate_hz:
        raise ValueError(f"{path} is at {rate} Hz; validation files must be at {sample_rate_hz} Hz")
    return torch.from_numpy(samples[:, 0].copy())
