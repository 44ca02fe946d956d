"""Recordings in memory: every audio file of some folders as one flat array of 16 kHz mono int16.

One array, because worker processes share it after a fork; an hour is 115 MB. With a cache
folder the array is decoded once and memory-mapped from then on.
"""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
SHORTEST_SAMPLES = 1_600  # 0.1 s; shorter recordings are skipped
ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")

Weights = Sequence[tuple[str, float]]


class AudioDataset(Protocol):
    """As torchaudio's datasets: items begin with a waveform (channels, samples) and its rate."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence[Any]: ...


@dataclasses.dataclass(frozen=True)
class Recordings:
    """Many recordings in one array, drawn at random.

    A source is drawn in proportion to its weight and the square root of its duration, a recording
    in it in proportion to the square root of its own: few long readers must not drown many short.

    samples: all recordings end to end, 16 kHz mono int16.
    offsets: recording k is samples[offsets[k] : offsets[k + 1]].
    sources: the source that each recording belongs to.
    skipped: files that could not be read or are shorter than 0.1 s.
    weights: pairs of a source and its weight; sources that are not named have weight 1.
    """

    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]
    sources: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        known = sorted(set(self.sources))
        for source, weight in self.weights:
            if source not in known:
                nearest = difflib.get_close_matches(source, known, n=1, cutoff=0.0)[0]
                raise ValueError(f"no source is named {source!r}; the nearest is {nearest!r}")
            if weight < 0:
                raise ValueError(
                    f"the weight of source {source!r} is {weight}; it must be 0 or more"
                )
        if not self.probabilities.sum() > 0:
            raise ValueError("every source has the weight 0; leave one with a weight above 0")

    @classmethod
    def from_folders(
        cls, folders: Iterable[str | Path], weights: Weights = (), cache: Path | None = None
    ) -> "Recordings":
        """Decode every audio file in the folders and below.

        Args:
            folders: searched recursively; a source is a folder directly inside one of them.
            weights: see the class.
            cache: folder in which the decoded samples are kept for the next time.

        Raises:
            ValueError: a folder is missing or holds no audio that can be read.
        """
        files = [(folder, path) for folder in map(Path, folders) for path in find_audio(folder)]
        key = _fingerprint(files)
        index_path = None if cache is None else cache / f"{key}.json"
        if cache is not None and index_path is not None and index_path.is_file():
            index = json.loads(index_path.read_text(encoding="utf-8"))
            samples = np.load(cache / f"{key}.npy", mmap_mode="r")
        else:
            samples, index = _decode_all(files, cache, key)
        return cls(
            samples,
            np.array(index["offsets"], np.int64),
            tuple(index["sources"]),
            tuple(index["skipped"]),
            tuple(weights),
        )

    @classmethod
    def from_dataset(cls, dataset: AudioDataset, source: str = "dataset") -> "Recordings":
        """Take every item of a torchaudio dataset (or anything like one) as a recording."""
        return cls.join(
            cls(samples, np.array([0, len(samples)], np.int64), (source,))
            for samples in _dataset_samples(dataset)
            if len(samples) >= SHORTEST_SAMPLES
        )

    @classmethod
    def join(cls, parts: Iterable["Recordings"], weights: Weights = ()) -> "Recordings":
        """All recordings of the parts in one array, with new weights."""
        parts = list(parts)
        if not parts:
            raise ValueError("there are no recordings to join; give at least one")
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.samples for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            tuple(source for part in parts for source in part.sources),
            tuple(path for part in parts for path in part.skipped),
            tuple(weights),
        )

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def hours(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ / 3600

    @functools.cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """How often each recording is drawn."""
        lengths = np.diff(self.offsets).astype(np.float64)
        names, group = np.unique(np.array(self.sources), return_inverse=True)
        weights = np.array([dict(self.weights).get(str(name), 1.0) for name in names])
        of_source = weights * np.sqrt(np.bincount(group, lengths))
        within = np.sqrt(lengths)
        probabilities = (of_source / np.maximum(np.bincount(group, within), 1.0))[group] * within
        return np.asarray(probabilities / max(probabilities.sum(), 1e-300))

    @functools.cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        return np.cumsum(self.probabilities)

    def draw(self, generator: np.random.Generator) -> int:
        """The index of a recording."""
        index = np.searchsorted(
            self._cumulative, generator.random() * self._cumulative[-1], "right"
        )
        return int(index)

    def excerpt(
        self, index: int, generator: np.random.Generator, samples: int
    ) -> NDArray[np.float32]:
        """A piece of a recording from a random place: full scale is 1, at most `samples` long."""
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        start += int(generator.integers(0, max(end - start - samples, 0) + 1))
        piece = self.samples[start : min(start + samples, end)]
        return piece.astype(np.float32) * np.float32(1 / 32768)


def find_audio(folder: Path) -> list[Path]:
    """The audio files in a folder and below, sorted.

    Raises:
        ValueError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder; give an existing folder of {' '.join(ENDINGS)}"
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise ValueError(f"{folder} holds no audio; looked for {' '.join(ENDINGS)} there and below")
    return files


def decode(path: Path) -> NDArray[np.float32]:
    """A whole file at 16 kHz, shape (samples, channels), full scale 1.

    Raises:
        ValueError: it cannot be read, is empty, or holds NaN or infinite samples.
    """
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"{path} is empty or holds samples that are not finite")
    return _at_16_khz(samples, rate_hz)


def _at_16_khz(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    return np.asarray(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ), np.float32)


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Channels averaged, full scale 1 to 16 bits."""
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    return np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)


def _dataset_samples(dataset: AudioDataset) -> Iterator[NDArray[np.int16]]:
    for index in range(len(dataset)):
        waveform, rate_hz = dataset[index][:2]
        channels_last = np.ascontiguousarray(np.asarray(waveform, np.float32).T)
        yield _as_int16(_at_16_khz(channels_last, int(rate_hz)))


def _fingerprint(files: Iterable[tuple[Path, Path]]) -> str:
    """Changes when a file of the (folder, path) pairs is added, removed, moved or changed."""
    digest = hashlib.sha256()
    for folder, path in files:
        stat, folder_path = path.stat(), folder.resolve()
        digest.update(
            f"{folder_path} {path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()[:24]


def _decode_or_none(path: Path) -> NDArray[np.int16] | None:
    try:
        return _as_int16(decode(path))
    except ValueError:
        return None


def _decode_all(
    files: list[tuple[Path, Path]], cache: Path | None, key: str
) -> tuple[NDArray[np.int16], dict[str, list[Any]]]:
    index: dict[str, list[Any]] = {"offsets": [0], "sources": [], "skipped": []}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pieces: list[NDArray[np.int16]] = []
        decoded = pool.map(_decode_or_none, [path for _, path in files])
        for (folder, path), samples in zip(files, decoded, strict=True):
            if samples is None or len(samples) < SHORTEST_SAMPLES:
                index["skipped"].append(str(path))
                continue
            pieces.append(samples)
            index["offsets"].append(index["offsets"][-1] + len(samples))
            below = path.relative_to(folder).parts
            index["sources"].append(below[0] if len(below) > 1 else folder.name)
    if not pieces:
        raise ValueError(f"none of the {len(files)} files can be read, the first is {files[0][1]}")
    samples = np.concatenate(pieces)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        with _replacing(cache / f"{key}.npy") as file:
            np.save(file, samples)
        # The index last: a cache without one counts as not there.
        with _replacing(cache / f"{key}.json") as file:
            file.write(json.dumps(index).encode())
    return samples, index


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write to a temporary file that takes the place of `path` only when all went well."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
