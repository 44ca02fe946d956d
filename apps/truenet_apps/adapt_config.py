"""What an adaptation is: one frozen dataclass, read from JSON by `truenet adapt --config`."""

import dataclasses
from typing import Literal

from truenet.config import LossConfig, MixingConfig, StartConfig

Method = Literal["paca", "full", "paca+dropbp", "lora", "bias"]
Precision = Literal["auto", "float32", "bfloat16"]

# Of Adam, by method. PaCA moves a few columns of each weight, so it needs larger steps than training in full does.
LEARNING_RATES: dict[Method, float] = {
    "paca": 2e-3,
    "paca+dropbp": 2e-3,
    "lora": 1e-3,
    "bias": 4e-3,
    "full": 3e-4,
}
CROP_SAMPLES = 32_512  # 2 s, a whole number of the longest segments of the loss
REPORT_SAMPLES = 64_000


def _in_the_place() -> MixingConfig:
    """Little is changed about recordings of a place: its colours are what is to be learned."""
    return MixingConfig(
        crop_samples=CROP_SAMPLES,
        noise_room_probability=0.0,
        made_noise_probability=0.0,
        speed_probability=0.3,
        equalization_probability=0.2,
    )


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """One adaptation; the defaults of the model's own training where nothing is said.

    snr_db: of talk in the place; the report's mixtures are those of 0 to 15 dB.
    rank: input columns (of LoRA, the rank) of every trained weight; weights that have fewer train all.
    batch_crops, old_crops: two-second mixtures of a step, and how many of them are of the original domain; what the
        base makes of those is their target.
    learning_rate: 0 takes the method's own.
    ema_decay: of the moving average of what is trained, which is what is watched and kept.
    watch_crops, watch_steps: mixtures of each domain that are watched, and how often; the best step by them is kept.
    strengths: shares of what was learned that are tried at the end; a single one is taken untried.
    trial_mixtures: of each domain, to choose the strength on; neither trained on nor reported on.
    most_lost_pesq: in the original domain, on those, by a strength that may be chosen.
    report_mixtures: held-out mixtures of each domain in the report.
    loss, starts: by default those of the fourteenth run (docs/LOG.md).
    precision: of the network in a training step; auto takes bfloat16 where it is measured to be clearly faster, so only
        a run with a given precision can be made again bit for bit.
    mixing, old_mixing: of the new and of the original domain; their folders are not used, nor `mixing.snr_db`.
    """

    method: Method = "paca"
    snr_db: tuple[float, float] = (-5.0, 20.0)
    rank: int = 16
    steps: int = 200
    batch_crops: int = 4
    old_crops: int = 1
    learning_rate: float = 0.0
    warmup_steps: int = 10
    gradient_norm: float = 5.0
    ema_decay: float = 0.95
    watch_crops: int = 12
    watch_steps: int = 20
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    trial_mixtures: int = 40
    most_lost_pesq: float = 0.02
    report_mixtures: int = 40
    seed: int = 0
    mixing: MixingConfig = dataclasses.field(default_factory=_in_the_place)
    old_mixing: MixingConfig = dataclasses.field(
        default_factory=lambda: MixingConfig(crop_samples=CROP_SAMPLES)
    )
    loss: LossConfig = dataclasses.field(
        default_factory=lambda: LossConfig(4.0, 10.0, 5.0, 2.5, (1.0, 0.25, 0.5))
    )
    starts: StartConfig = dataclasses.field(
        default_factory=lambda: StartConfig(0.4, 0.2, rest_seconds=10.0)
    )
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.method not in LEARNING_RATES:
            raise ValueError(f"--method {self.method}: give one of {', '.join(LEARNING_RATES)}")
        for name in (
            "rank",
            "steps",
            "batch_crops",
            "watch_crops",
            "watch_steps",
            "trial_mixtures",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        if not 0 <= self.old_crops < self.batch_crops:
            raise ValueError(
                f"old_crops is {self.old_crops} of {self.batch_crops}; "
                "leave at least one crop of a step to the new domain"
            )
        if not self.strengths or not all(0 <= strength <= 1 for strength in self.strengths):
            raise ValueError(f"strengths are {self.strengths}; give one or more, each 0 to 1")
        if self.report_mixtures < 2:
            raise ValueError("report_mixtures is too few for an interval; give 2 or more")

    @property
    def peak_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate or LEARNING_RATES[self.method]

    def rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        warm = (step + 1) / max(1, self.warmup_steps)
        left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.peak_rate * min(1.0, warm, left)


def for_scoring(mixing: MixingConfig) -> MixingConfig:
    """Mixtures of speech and one noise at everyday levels, four seconds long, nothing else done to them.

    Their SNRs are those of training that lie within 0 to 15 dB.
    """
    low_db, high_db = mixing.snr_db
    nothing = {
        f"{name}_probability": 0.0
        for name in (
            "second_noise", "made_noise", "speed", "equalization", "clipping", "lowpass",
            "silence", "noise_only", "clean_only",
        )
    }  # fmt: skip
    return dataclasses.replace(
        mixing,
        **nothing,  # type: ignore[arg-type]
        crop_samples=REPORT_SAMPLES,
        snr_db=(max(low_db, 0.0), min(high_db, 15.0)),
        level_dbfs=(-30.0, -24.0),
    )
