"""What a model, a mixture and a training run are: frozen dataclasses, read from and written to JSON.

The defaults of `TRUNetConfig` are the network of the TRU-Net paper (arXiv 2102.03207 v3, table of Fig. 1).
An unknown key is an error that names the nearest known one.
"""

import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

Config = TypeVar("Config")

Feature = Literal["log_magnitude", "pcen", "demodulated_phase", "phase_advance"]


@dataclasses.dataclass(frozen=True)
class TRUNetConfig:
    """The network. Lengths in samples; the kernel, stride and channel tuples go from the input inwards
    (encoder) and from the bottleneck outwards (decoder).

    masks: 2 gives voice and noise their own mask (room is the difference), 1 only denoises.
    sign: "continuous" is tanh((q0 − q1)/2); "gumbel" is the paper's hard, straight-through sign.
    wide_last_block: keep the last pointwise layer at the decoder's width (the paper narrows it to the mask's).
    """

    sample_rate_hz: int = 16_000
    window_samples: int = 512
    hop_samples: int = 128
    features: tuple[Feature, ...] = ("log_magnitude", "pcen", "demodulated_phase")
    encoder_kernels: tuple[int, ...] = (5, 3, 5, 3, 5, 3)
    encoder_strides: tuple[int, ...] = (2, 1, 2, 1, 2, 2)
    encoder_channels: tuple[int, ...] = (64, 128, 128, 128, 128, 128)
    frequency_gru_units: int = 64
    time_gru_units: int = 128
    bottleneck_channels: int = 64
    decoder_kernels: tuple[int, ...] = (3, 5, 3, 5, 3, 5)
    decoder_strides: tuple[int, ...] = (2, 2, 1, 2, 1, 2)
    decoder_channels: tuple[int, ...] = (64, 64, 64, 64, 64)
    masks: Literal[1, 2] = 2
    sign: Literal["continuous", "gumbel"] = "continuous"
    wide_last_block: bool = False

    def __post_init__(self) -> None:
        if (
            self.window_samples % self.hop_samples
            or self.window_samples // self.hop_samples not in (2, 4)
        ):
            raise ValueError(
                f"window_samples {self.window_samples} and hop_samples {self.hop_samples}: "
                "the hop must be a half or a quarter of the window"
            )
        if self.bins % self.encoder_stride:
            raise ValueError(
                f"{self.bins} bins cannot be divided by the encoder's stride {self.encoder_stride}"
            )

    @property
    def bins(self) -> int:
        """Frequency bins that the network sees: DC is left out and rides with bin 1."""
        return self.window_samples // 2

    @property
    def encoder_stride(self) -> int:
        product = 1
        for stride in self.encoder_strides:
            product *= stride
        return product

    @property
    def latency_samples(self) -> int:
        """Samples by which the output of the model file lags its input: window minus hop."""
        return self.window_samples - self.hop_samples

    @property
    def frames_per_second(self) -> float:
        return self.sample_rate_hz / self.hop_samples


@dataclasses.dataclass(frozen=True)
class MixingConfig:
    """How mixtures are drawn. Ranges are (low, high), drawn uniformly; probabilities are in 0..1.

    speech, noise, rooms: folders that are searched for audio files. Without rooms some are
    simulated, without noise all of it is made.
    speech_weights, noise_weights: pairs of a source (a folder directly inside one of the folders)
    and how much more often than the others it is drawn; 0 leaves it out. A voice target must be
    dry: weight dry speech up.
    gate_db: how far the noise floor in the pauses of speech is turned down; 0 leaves it.
    direct_ms: the part of a room's response after the direct path that belongs to the voice; the paper takes
    the direct path alone (about 2.5 ms).
    """

    speech: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    speech_weights: tuple[tuple[str, float], ...] = ()
    noise_weights: tuple[tuple[str, float], ...] = ()
    gate_db: float = 15.0
    crop_samples: int = 48_768
    direct_ms: float = 50.0
    snr_db: tuple[float, float] = (-5.0, 25.0)
    level_dbfs: tuple[float, float] = (-45.0, -12.0)
    room_probability: float = 0.5
    noise_room_probability: float = 0.2
    second_noise_probability: float = 0.35
    made_noise_probability: float = 0.3
    speed_probability: float = 0.6
    equalization_probability: float = 0.5
    clipping_probability: float = 0.05
    lowpass_probability: float = 0.05
    silence_probability: float = 0.02
    noise_only_probability: float = 0.04
    clean_only_probability: float = 0.05

    def __post_init__(self) -> None:
        for name in ("snr_db", "level_dbfs"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"mixing.{name}: the range is {low} to {high}; give (low, high)")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_probability") and not 0 <= value <= 1:
                raise ValueError(f"mixing.{field.name} is {value}; give 0 to 1")
        if self.crop_samples < 1:
            raise ValueError(f"mixing.crop_samples is {self.crop_samples}; give 1 or more")


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """States that crops start from; what is left of the shares starts from zeros.

    carried_share: go on from the state in which the last batch ended.
    rested_share: go on from streams of silence and noise, which every `rest_steps` steps get `rest_seconds` longer.
    """

    carried_share: float = 0.0
    rested_share: float = 0.0
    rest_steps: int = 20
    rest_seconds: float = 20.0

    def __post_init__(self) -> None:
        shares = (self.carried_share, self.rested_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                f"starts: shares of {shares}; give numbers from 0 up, 1 at most together"
            )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the terms, and of the three parts in each of them (voice, room, noise); the perceptual term is
    the voice's alone."""

    waveform_cosine: float = 1.0
    magnitude: float = 1.0
    complex_spectrum: float = 0.0
    perceptual: float = 0.0
    parts: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A whole run: what `truenet train CONFIG` reads.

    optimizer: "muon" is Muon for the weights that are matrices and AdamW for the rest (`truenet.matrix_optimizer`).
    initial_weights: a .safetensors file to go on from.
    training_data: what the recordings are, in a sentence; it goes into the weights and the model file.
    """

    model: TRUNetConfig = TRUNetConfig()
    mixing: MixingConfig = MixingConfig()
    loss: LossConfig = LossConfig()
    starts: StartConfig = StartConfig()
    steps: int = 100_000
    batch_crops: int = 8
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    decay_steps: int = 20_000
    gradient_norm: float = 5.0
    ema_decay: float = 0.999
    mixed_precision: bool = True
    workers: int = 1
    seed: int = 0
    checkpoint_steps: int = 200
    validation_steps: int = 1000
    validation: str = ""
    initial_weights: str = ""
    training_data: str = ""


def from_dict(kind: type[Config], values: dict[str, Any], where: str = "config") -> Config:
    """Build a config dataclass from plain JSON values, nested ones included.

    Raises:
        ValueError: an unknown key (the nearest known one is named) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            nearest = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: unknown key {key!r}; did you mean {nearest!r}?")
    return kind(
        **{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(typing.cast(type[Any], hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where) for item in value)
        if len(arguments) == len(value):
            return tuple(
                _convert(kind, item, where) for kind, item in zip(arguments, value, strict=True)
            )
    if origin is Literal and value in arguments:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) and type(value) is hint:
        return value
    raise ValueError(f"{where}: {value!r} does not fit; expected {_describe(hint)}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain JSON values; `from_dict` is its inverse."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config))))


def read_config(kind: type[Config], path: Path) -> Config:
    """Read a JSON config file.

    Raises:
        ValueError: not JSON, an unknown key, or a value of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object of settings, found {type(values).__name__}")
    return from_dict(kind, values, str(path))
