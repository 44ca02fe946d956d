"""What goes in and what comes out, written to two files by a thread of its own: disks may be slow."""

import queue
import threading
from pathlib import Path
from typing import Self

from truenet.audio import AudioInfo
from truenet.fifo import Samples
from truenet.suffixes import SUFFIXES
from truenet.writing import FileWriter, choose_encoding

WAITING_FRAMES = 4000  # half a minute and 4 MB, then frames are left out


class Recorder:
    """Two mono files, in step with each other.

    Args:
        before, after: their names; as context manager, they get them at the end.
        sample_rate_hz: their rate.

    Raises:
        ValueError: names that cannot be written, or that exist.
    """

    def __init__(self, before: Path, after: Path, sample_rate_hz: int) -> None:
        self.lost_frames = 0
        self._frames: queue.Queue[tuple[Samples, Samples] | None] = queue.Queue(WAITING_FRAMES)
        self._failure: ValueError | None = None
        self._writers: list[FileWriter] = []
        self._thread = threading.Thread(target=self._write, name="truenet recorder", daemon=True)
        _check_names(before, after)
        for path in (before, after):
            source = AudioInfo(sample_rate_hz, 1, "WAV", "PCM_16", None)
            format_, subtype = choose_encoding(source, ".wav", path.suffix)
            self._writers.append(FileWriter(path, source, format_, subtype))

    def add(self, before: Samples, after: Samples) -> None:
        """Take a frame of each; never waits.

        Raises:
            ValueError: the disk is full, or the like.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._frames.put_nowait((before, after))
        except queue.Full:
            self.lost_frames += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._frames.put(None)
        self._thread.join()
        for writer in self._writers:
            with writer:
                writer.commit()

    def _write(self) -> None:
        while (frame := self._frames.get()) is not None:
            if self._failure is not None:
                continue
            try:
                for writer, samples in zip(self._writers, frame, strict=True):
                    writer.write(samples[:, None])
            except ValueError as error:
                self._failure = error


def _check_names(before: Path, after: Path) -> None:
    if before == after:
        raise ValueError(f"{before}: --record takes two names, one for before and one for after")
    for path in (before, after):
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path}: name an audio file, such as {path.stem}.wav")
        if path.exists():
            raise ValueError(f"{path}: exists; choose another name, or remove it")
