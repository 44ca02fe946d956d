"""The audio track of m4a, mp4 and video files, decoded by PyAV (the extra `av`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from truenet.audio import AudioInfo, check_info, damaged
from truenet.extras import how_to_install
from truenet.fifo import SampleFifo, Samples


class ContainerReader:
    """The first audio track of a container.

    Raises:
        ValueError: PyAV is not installed, or the file has no audio that it can decode.
    """

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise ValueError(
                f"{path}: {path.suffix} files need PyAV; {how_to_install('av')}"
            ) from error
        self._av = av
        self._path = path
        try:
            self._container: Any = av.open(str(path))
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{path}: not a file that can be read ({error})") from error
        if not self._container.streams.audio:
            self._container.close()
            raise ValueError(f"{path}: has no audio track")
        self._stream: Any = self._container.streams.audio[0]
        duration = self._container.duration
        self.info = AudioInfo(
            sample_rate_hz=self._stream.rate,
            channels=self._stream.channels,
            format="WAV",
            subtype="PCM_24" if self._stream.format.name.startswith("s32") else "PCM_16",
            samples=None,
            estimated_seconds=duration and duration / av.time_base,
        )
        check_info(str(path), self.info)

    def blocks(self, samples: int) -> Iterator[Samples]:
        """Blocks (samples, channels) of float32 until the end; the last one may be shorter."""
        waiting, total = SampleFifo(self.info.channels), 0
        for piece in self._pieces():
            total += len(piece)
            waiting.put(piece)
            while len(waiting) >= samples:
                yield waiting.take(samples)
        if len(waiting):
            yield waiting.take(samples)
        if not total:
            raise ValueError(f"{self._path}: its audio track holds no samples")

    def _pieces(self) -> Iterator[Samples]:
        """Decoded samples, brought to float32 by ffmpeg whatever the codec gives."""
        to_float = self._av.AudioResampler(
            format="flt", layout=self._stream.layout, rate=self._stream.rate
        )
        try:
            for frame in self._container.decode(self._stream):
                yield from map(self._columns, to_float.resample(frame))
            yield from map(self._columns, to_float.resample(None))
        except self._av.FFmpegError as error:
            raise ValueError(damaged(str(self._path), f"({error})")) from error

    def _columns(self, frame: Any) -> Samples:
        samples: Samples = frame.to_ndarray().reshape(-1, self.info.channels)
        return samples.astype(np.float32, copy=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()
