"""One input of `enhance`, from the first sample to the finished files: the stream fed from disk."""

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from soundfile import available_subtypes

from truenet.anyrate import AnyRateStream, block_samples
from truenet.audio import AudioInfo, AudioReader, open_audio, open_pipe
from truenet.faders import linear_gain
from truenet.fifo import Samples
from truenet.modelfile import ModelFile
from truenet.raw import RawFormat
from truenet.samples import BadSamples
from truenet.writing import AudioWriter, FileWriter, PipeWriter, choose_encoding
from truenet_apps.enhance_plan import PARTS, PIPE, Task
from truenet_apps.metering import LevelMeter
from truenet_apps.spectrogram import Spectrogram

PIPE_BLOCK_SECONDS = 0.032  # four frames: little delay, and hardly slower than long blocks

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user asked for, the same for all inputs."""

    voice_db: float
    room_db: float
    noise_db: float
    stems: bool = False
    linked: bool = False
    model: Path | None = None
    subtype: str | None = None
    raw: str | None = None
    replace_bad_samples: bool = False

    def check(self) -> None:
        """Refuse what no input could have.

        Raises:
            ValueError: an unknown sample type, or a raw format that is none.
        """
        self.raw_format()
        if self.subtype is not None and self.subtype.upper() not in available_subtypes():
            raise ValueError(
                f"unknown sample type {self.subtype!r}; use one of {' '.join(available_subtypes())}"
            )

    def raw_format(self) -> RawFormat | None:
        """What standard input and output are, if they have no header."""
        return None if self.raw is None else RawFormat.parse(self.raw)

    def faders(self) -> NDArray[np.float32]:
        """The mixes to render, (mixes, 3): one, or the three stems that add up to the input."""
        if self.stems:
            return np.eye(len(PARTS), dtype=np.float32)
        levels = zip(PARTS, (self.voice_db, self.room_db, self.noise_db), strict=True)
        return np.array([[linear_gain(level_db, name) for name, level_db in levels]], np.float32)


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one input. Levels are of the input, and of the first output."""

    input: str
    outputs: list[str]
    sample_rate_hz: int
    channels: int
    seconds: float
    took_seconds: float
    level_before_dbfs: float
    level_after_dbfs: float
    snr_before_db: float | None
    snr_after_db: float | None
    clipped_samples: int
    bad_samples: int

    @property
    def times_real_time(self) -> float:
        return self.seconds / max(self.took_seconds, 1e-9)


@functools.cache
def open_model(path: Path | None) -> ModelFile:
    """The model file, opened once in each process."""
    return ModelFile(path)


def enhance_task(task: Task, settings: Settings, progress: Progress) -> Result:
    """Enhance one input.

    Args:
        task: the input and its outputs.
        settings: what to do.
        progress: told the seconds of audio of every block that is done.

    Raises:
        ValueError: the input or an output cannot be used; nothing is left behind.
    """
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(_open(task.source, settings))
        writers = _open_writers(task, settings, reader.info, stack)
        stream = _open_stream(settings, reader.info)
        before, after = (_Listener(reader.info, task.plot is not None) for _ in range(2))
        for block in _blocks(task, reader):
            enhanced = stream.process(block)
            _check_samples(task, stream, settings)
            before.add(block)
            _deliver(enhanced, writers, after)
            progress(len(block) / reader.info.sample_rate_hz)
        _deliver(stream.flush(), writers, after)
        if task.plot is not None:
            _draw(task, task.plot, before, after)
        for writer in writers:
            writer.commit()
    return Result(
        input=task.label,
        outputs=[str(path) for path in task.outputs],
        sample_rate_hz=reader.info.sample_rate_hz,
        channels=reader.info.channels,
        seconds=before.meter.seconds,
        took_seconds=time.perf_counter() - started,
        level_before_dbfs=before.meter.level_dbfs,
        level_after_dbfs=after.meter.level_dbfs,
        snr_before_db=before.meter.snr_db,
        snr_after_db=after.meter.snr_db,
        clipped_samples=sum(writer.clipped_samples for writer in writers),
        bad_samples=stream.bad_samples.count,
    )


class _Listener:
    """What is measured, and drawn if wanted, of the audio on one side."""

    def __init__(self, info: AudioInfo, draws: bool) -> None:
        self.meter = LevelMeter(info.sample_rate_hz)
        self.picture = Spectrogram(info.sample_rate_hz) if draws else None

    def add(self, block: Samples) -> None:
        block = BadSamples().replace(block)
        self.meter.add(block)
        if self.picture is not None:
            self.picture.add(block)


def _open(source: Path, settings: Settings) -> AudioReader:
    if source == PIPE:
        return open_pipe(sys.stdin.fileno(), settings.raw_format())
    return open_audio(source)


def _open_writers(
    task: Task, settings: Settings, info: AudioInfo, stack: contextlib.ExitStack
) -> list[AudioWriter]:
    if task.audio == (PIPE,):
        return [PipeWriter(sys.stdout.buffer, info, settings.raw_format())]
    source_suffix = ".wav" if task.source == PIPE else task.source.suffix
    subtype = settings.subtype and settings.subtype.upper()
    if settings.stems and subtype is None and task.audio[0].suffix.lower() == ".wav":
        subtype = "FLOAT"  # so that the stems add up to the input exactly
    encoding = choose_encoding(info, source_suffix, task.audio[0].suffix, subtype)
    return [stack.enter_context(FileWriter(path, info, *encoding)) for path in task.audio]


def _open_stream(settings: Settings, info: AudioInfo) -> AnyRateStream:
    return AnyRateStream(
        open_model(settings.model),
        info.sample_rate_hz,
        info.channels,
        settings.faders(),
        settings.linked,
    )


def _blocks(task: Task, reader: AudioReader) -> Iterator[Samples]:
    if task.source != PIPE:
        return reader.blocks(block_samples(reader.info.sample_rate_hz))
    return reader.blocks(max(1, round(PIPE_BLOCK_SECONDS * reader.info.sample_rate_hz)))


def _deliver(mixes: Samples, writers: list[AudioWriter], listener: _Listener) -> None:
    """Write each mix to its file; the first one is what is measured."""
    for mix, writer in zip(mixes, writers, strict=True):
        writer.write(mix)
    listener.add(mixes[0])


def _check_samples(task: Task, stream: AnyRateStream, settings: Settings) -> None:
    if stream.bad_samples.first is None or settings.replace_bad_samples:
        return
    sample, channel = stream.bad_samples.first
    raise ValueError(
        f"{task.label}: sample {sample} of channel {channel + 1} is NaN, infinite or no audio; "
        "--replace-bad-samples puts silence there"
    )


def _draw(task: Task, path: Path, before: _Listener, after: _Listener) -> None:
    from truenet_apps.plot import Panel, write_plot

    panels = [
        Panel(name, side.picture, side.meter.level_dbfs, side.meter.snr_db)
        for name, side in (
            (f"before: {Path(task.label).name}", before),
            (f"after: {task.audio[0].name}", after),
        )
        if side.picture is not None
    ]
    write_plot(path, panels)
