"""`Enhancer`: the voice out of a noisy, echoing signal, block by block or a whole array at once.

It needs numpy and onnxruntime (and soxr for sample rates that are not the model's), and runs on one
thread.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truenet.faders import DEFAULT_NOISE_DB, DEFAULT_ROOM_DB, DEFAULT_VOICE_DB, linear_gain
from truenet.fifo import SampleFifo, Samples
from truenet.modelfile import ModelFile, ModelInfo
from truenet.samples import BadSamples, as_columns
from truenet.stream import FrameStream


class Enhancer:
    """Speech enhancement with three faders, for streams and for whole arrays.

    As a stream it takes blocks at `sample_rate_hz`, mono (samples,) or (samples, channels), and
    returns as many samples as it was given, `latency_samples` late:

        enhancer = Enhancer(noise_db=-30)
        for block in microphone:
            speaker.write(enhancer.process(block))
        speaker.write(enhancer.flush())

    The faders `voice_db`, `room_db` and `noise_db` may be set at any time, without a click; with
    all three at 0 dB the output is the input, delayed.

    Args:
        model: path of a model file, a `ModelFile` already open, or None for the model that comes
            with truenet.
        voice_db: level of the voice, −inf to 40.
        room_db: level of the voice's reverberation.
        noise_db: level of everything else.
        whole_frames: accept only blocks of whole frames (multiples of `hop_samples`), and save the
            delay that other lengths cost (`hop_samples` − 1).
        linked: treat all channels with one mask, so that the stereo image stays; it costs another
            window of delay.

    Raises:
        ValueError: a fader out of range, or a model file that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelFile | None = None,
        *,
        voice_db: float = DEFAULT_VOICE_DB,
        room_db: float = DEFAULT_ROOM_DB,
        noise_db: float = DEFAULT_NOISE_DB,
        whole_frames: bool = False,
        linked: bool = False,
    ) -> None:
        self._model = model if isinstance(model, ModelFile) else ModelFile(model)
        self._levels_db = {"voice": voice_db, "room": room_db, "noise": noise_db}
        self._faders = self._linear_faders()
        self._whole_frames = whole_frames
        self._linked = linked
        self.reset()

    @property
    def info(self) -> ModelInfo:
        """What the model file says of itself."""
        return self._model.info

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the blocks that `process` takes."""
        return self.info.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples in a frame."""
        return self.info.hop_samples

    @property
    def latency_samples(self) -> int:
        """Samples by which the output of `process` lags its input."""
        latency = self.info.latency_samples
        if self._linked:
            latency += self.info.window_samples - self.info.hop_samples
        return latency + (0 if self._whole_frames else self.info.hop_samples - 1)

    @property
    def bad_samples(self) -> int:
        """Samples since the start of the stream that were NaN or infinite: replaced by silence."""
        return self._bad.count

    @property
    def first_bad_sample(self) -> tuple[int, int] | None:
        """Position (sample, channel) of the first of them."""
        return self._bad.first

    @property
    def voice_db(self) -> float:
        """Level of the voice in dB; a new value counts from the next frame."""
        return self._levels_db["voice"]

    @voice_db.setter
    def voice_db(self, level_db: float) -> None:
        self._set_fader("voice", level_db)

    @property
    def room_db(self) -> float:
        """Level of the reverberation in dB; a new value counts from the next frame."""
        return self._levels_db["room"]

    @room_db.setter
    def room_db(self, level_db: float) -> None:
        self._set_fader("room", level_db)

    @property
    def noise_db(self) -> float:
        """Level of the noise in dB; a new value counts from the next frame."""
        return self._levels_db["noise"]

    @noise_db.setter
    def noise_db(self, level_db: float) -> None:
        self._set_fader("noise", level_db)

    def reset(self) -> None:
        """Start a new stream, which may have another number of channels; the faders stay."""
        self._bad = BadSamples()
        self._warned = False
        self._stream: FrameStream | None = None
        self._shape: tuple[int, ...] = ()

    def process(self, block: NDArray[Any]) -> Samples:
        """Enhance the next block of the stream.

        Args:
            block: (samples,) or (samples, channels) at `sample_rate_hz`, any length; floats within
                ±1, or integers. The number of channels stays the same until `reset`.

        Returns:
            float32 of the same shape, `latency_samples` late.

        Raises:
            ValueError: another shape than before, or, with `whole_frames`, no whole number of
                frames.
        """
        block = np.asarray(block)
        columns = as_columns(block)
        stream = self._stream or self._start(block.shape[1:])
        self._check_block(block)
        stream.faders = self._faders
        self._waiting.put(self._bad.replace(columns))
        self._warn_of_bad_samples()
        whole = len(self._waiting) // self.hop_samples * self.hop_samples
        self._ready.put(stream.process(self._waiting.take(whole))[0])
        return self._ready.take(len(block)).reshape(block.shape)

    def flush(self) -> Samples:
        """End the stream: the last `latency_samples` samples, after which a new stream starts."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self.latency_samples
        fed = -(-rest // self.hop_samples) * self.hop_samples
        silence = np.zeros((fed, *self._shape), np.float32)
        last = self.process(silence)[:rest]
        self._stream = None
        return last

    def enhance(self, samples: NDArray[Any], sample_rate_hz: float) -> Samples:
        """Enhance a whole recording of any sample rate. Ends a stream that `process` may have
        begun.

        Args:
            samples: (samples,) or (samples, channels); floats within ±1, or integers.
            sample_rate_hz: their rate.

        Returns:
            float32 of the same shape, in step with the input. What lies above the model's band is
            kept under the gain that the top of that band got.

        Raises:
            ValueError: another shape, or a rate that no recording has.
        """
        from truenet.anyrate import AnyRateStream  # brings soxr, which a stream does without

        samples = np.asarray(samples)
        columns = as_columns(samples)
        self.reset()
        stream = AnyRateStream(
            self._model, sample_rate_hz, columns.shape[1], self._faders, linked=self._linked
        )
        self._bad = stream.bad_samples
        pieces = [stream.process(piece)[0] for piece in stream.split(columns)]
        self._warn_of_bad_samples()
        return np.concatenate([*pieces, stream.flush()[0]]).reshape(samples.shape)

    def _start(self, shape: tuple[int, ...]) -> FrameStream:
        self.reset()
        channels = shape[0] if shape else 1
        self._shape = shape
        self._stream = FrameStream(self._model, channels, self._faders, self._linked)
        self._waiting = SampleFifo(channels)
        self._ready = SampleFifo(channels)
        if not self._whole_frames:
            self._ready.put(np.zeros((self.hop_samples - 1, channels), np.float32))
        return self._stream

    def _check_block(self, block: NDArray[Any]) -> None:
        if block.shape[1:] != self._shape:
            raise ValueError(
                f"block of shape {block.shape} in a stream of {_channels_text(self._shape)}; "
                "reset() starts a stream with other channels"
            )
        if self._whole_frames and len(block) % self.hop_samples:
            raise ValueError(
                f"block of {len(block)} samples: with whole_frames=True give multiples of "
                f"{self.hop_samples}"
            )

    def _warn_of_bad_samples(self) -> None:
        if self._bad.first is None or self._warned:
            return
        self._warned = True
        sample, channel = self._bad.first
        warnings.warn(
            f"sample {sample} of channel {channel} is NaN, infinite or no audio; such samples are "
            "replaced by silence and counted in bad_samples",
            RuntimeWarning,
            stacklevel=3,
        )

    def _set_fader(self, name: str, level_db: float) -> None:
        linear_gain(level_db, name)  # refuse before anything is changed
        self._levels_db[name] = level_db
        self._faders = self._linear_faders()

    def _linear_faders(self) -> NDArray[np.float32]:
        gains = [linear_gain(level_db, name) for name, level_db in self._levels_db.items()]
        return np.array([gains], np.float32)


def _channels_text(shape: tuple[int, ...]) -> str:
    return (
        f"{shape[0]} channels, shape (samples, {shape[0]})" if shape else "mono, shape (samples,)"
    )
