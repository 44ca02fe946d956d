"""Recordings to mix: folders of audio files, decoded once to 16 kHz int16 and drawn from by weight.

All samples lie in one flat array (seven hours of speech are 800 MB), which data-loader processes share.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from truenet.config import TRUNetConfig

SAMPLE_RATE_HZ = TRUNetConfig().sample_rate_hz
ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
_SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 10

Int16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]


class SpeechDataset(Protocol, Sized):
    """Any of torchaudio's datasets: items begin with a waveform (channels, samples) and its sample rate."""

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Recordings:
    """Recordings end to end.

    samples: (total,) int16; starts: (count + 1,) where each begins; probabilities: (count,) of being drawn;
    unreadable: files that could not be decoded.
    """

    samples: Int16
    starts: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ

    def __getitem__(self, index: int) -> Float32:
        """Recording `index`, (samples,) float32 in ±1."""
        piece = self.samples[self.starts[index] : self.starts[index + 1]]
        return piece.astype(np.float32) / np.float32(32768)

    def draw(self, generator: np.random.Generator) -> Float32:
        """A recording drawn by weight, whole."""
        return self[int(generator.choice(len(self), p=self.probabilities))]

    @classmethod
    def from_arrays(
        cls, arrays: list[Int16], groups: list[str], unreadable: Iterable[str] = ()
    ) -> "Recordings":
        """Recordings of int16 arrays; a group is drawn in proportion to the square root of its duration, so that a
        few long readers do not drown the many voices, and within a group by duration."""
        lengths = np.array([len(array) for array in arrays], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        totals: dict[str, int] = {}
        for group, length in zip(groups, lengths, strict=True):
            totals[group] = totals.get(group, 0) + int(length)
        weights = np.array(
            [length / np.sqrt(totals[group]) for group, length in zip(groups, lengths, strict=True)]
        )
        samples = np.concatenate(arrays) if arrays else np.zeros(0, np.int16)
        return cls(samples, starts, weights / weights.sum(), tuple(unreadable))

    @classmethod
    def from_dataset(cls, dataset: SpeechDataset) -> "Recordings":
        """Recordings of a dataset whose items begin with (waveform (channels, samples), sample rate)."""
        arrays = []
        for index in range(len(dataset)):
            waveform, rate = dataset[index][:2]
            arrays.append(_to_int16(np.asarray(waveform, np.float32).T, int(rate)))
        return cls.from_arrays(arrays, ["dataset"] * len(arrays))


def read_folders(folders: Iterable[str], purpose: str, cache: Path | None = None) -> Recordings:
    """Decode every audio file below some folders.

    Args:
        folders: searched recursively; their first level of sub-folders are the groups of the weighting.
        purpose: a word for error messages ("speech").
        cache: keep the decoded samples in this folder, keyed by names, sizes and times of the files.

    Raises:
        ValueError: a folder is missing or holds no audio.
    """
    found = [(file, group) for folder in folders for file, group in _find(Path(folder), purpose)]
    if cache is None:
        return _decode(found)
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file, _ in found]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    kept = cache / f"{purpose}-{key}"
    if not kept.is_dir():
        _keep(_decode(found), kept)
    index = json.loads((kept / "index.json").read_text(encoding="utf-8"))
    return Recordings(
        np.load(kept / "samples.npy", mmap_mode="r"),
        np.load(kept / "starts.npy"),
        np.load(kept / "probabilities.npy"),
        tuple(index["unreadable"]),
    )


def _find(folder: Path, purpose: str) -> list[tuple[Path, str]]:
    if not folder.is_dir():
        raise ValueError(f"{purpose} folder {folder} does not exist")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(f"{purpose} folder {folder} has no audio files ({', '.join(ENDINGS)})")
    return [(file, str(folder / file.relative_to(folder).parts[0])) for file in files]


def _decode(found: list[tuple[Path, str]]) -> Recordings:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        decoded = list(pool.map(_read, (file for file, _ in found)))
    arrays, groups, unreadable = [], [], []
    for array, (file, group) in zip(decoded, found, strict=True):
        if array is None:
            unreadable.append(str(file))
        elif len(array) >= _SHORTEST_SAMPLES:
            arrays.append(array)
            groups.append(group)
    if not arrays:
        raise ValueError(
            f"none of {len(found)} audio files could be used, for example {found[0][0]}"
        )
    return Recordings.from_arrays(arrays, groups, unreadable)


def _read(file: Path) -> Int16 | None:
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    return _to_int16(samples, rate)


def _to_int16(samples: Float32, rate: int) -> Int16:
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate, SAMPLE_RATE_HZ)
    whole: Int16 = np.clip(np.round(mono * 32768), -32768, 32767).astype(np.int16)
    return whole


def _keep(recordings: Recordings, folder: Path) -> None:
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    temporary.mkdir(parents=True)
    np.save(temporary / "samples.npy", recordings.samples)
    np.save(temporary / "starts.npy", recordings.starts)
    np.save(temporary / "probabilities.npy", recordings.probabilities)
    index = json.dumps({"unreadable": recordings.unreadable})
    (temporary / "index.json").write_text(index, encoding="utf-8")
    if not folder.exists():
        temporary.rename(folder)
