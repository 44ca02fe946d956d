"""One `truenet adapt` from its folders to its files: opening, resuming, writing, reporting."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed as dist

from truenet.config import read_config, to_dict
from truenet.extras import how_to_install
from truenet.grids import GRIDS, Grids
from truenet.modelfile import ModelFile
from truenet.verification import voice_alone
from truenet.weights import load_weights, weights_sha256
from truenet_apps import adapt_report, adapt_strength, adapt_unpaired
from truenet_apps.adapt_config import AdaptConfig
from truenet_apps.adapt_domains import (
    Domain,
    mixed_domain,
    open_data,
    paired_domain,
    read_pairs,
    read_rooms,
    read_speech,
)
from truenet_apps.adapt_methods import PartialTraining, stored_bytes, trained_count
from truenet_apps.adapt_page import write_page
from truenet_apps.adapt_proof import Proof, model_file, prove
from truenet_apps.adapt_recordings import Split, fingerprint, found, listen, split
from truenet_apps.adapt_run import Adaptation
from truenet_apps.adapt_write import trial_model, write_merged
from truenet_apps.adapter_model import SHIPPED_WEIGHTS, write_model_file
from truenet_export.int8 import export_int8


class Job:
    """See `adapt.adapt`.

    Args:
        target: the .adapter file.
        config: a JSON file, or None.
        given: settings from the command line, which go before the file.
        weights: of the base; None for those in the package.
        say: shows a line.
        overwrite: replace what is there.
        export: of a base in float, write the small model file too.

    Raises:
        ValueError: the adapter exists and no run is there to go on with.
    """

    def __init__(
        self,
        target: Path,
        config: Path | None,
        given: dict[str, Any],
        weights: Path | None,
        say: Callable[[str], None],
        overwrite: bool = False,
        export: bool = False,
    ) -> None:
        base = read_config(AdaptConfig, config) if config else AdaptConfig()
        self.config = dataclasses.replace(base, **given)
        self.target, self.say = target, say
        self.folder = target.with_name(target.name + ".run")
        self.model_path = target.with_suffix(".onnx")
        self.weights = weights or SHIPPED_WEIGHTS
        model, facts = load_weights(self.weights)
        self.grids = Grids.from_text(facts[GRIDS]) if GRIDS in facts else None
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.small_path = target.with_suffix(".int8.onnx") if export and not self.grids else None
        if not target.parent.is_dir():
            raise ValueError(f"{target}: there is no folder {target.parent}")
        self.is_first = not dist.is_initialized() or dist.get_rank() == 0
        if overwrite:
            if self.is_first:
                shutil.rmtree(self.folder, ignore_errors=True)
            if dist.is_initialized():
                dist.barrier()
        elif not self.folder.is_dir():
            for path in (target, self.model_path, self.small_path):
                if path is not None and path.exists():
                    raise ValueError(f"{path} exists; give --overwrite to replace it")
        self.base = model_file(self.weights)
        self.warnings: list[str] = []
        self.choice = adapt_strength.Choice(self.config.strengths[-1])
        self.found = ""

    def open(
        self,
        noise: Path | None,
        pairs: tuple[Path, Path] | None,
        speech: Path | None,
        rooms: Path | None,
        minutes: float | None,
        unpaired: Path | None = None,
    ) -> None:
        """Read everything, say what was found and what will be done, and go on where a run was stopped.

        Raises:
            ValueError: what is there cannot be used, or a run of other settings was stopped here.
        """
        self.unpaired = adapt_unpaired.read_unpaired(unpaired) if unpaired else []
        new, old, identity = self._domains(noise, pairs, speech, rooms)
        for warning in self.warnings:
            self.say(f"warning: {warning}")
        self.say(self.found)
        settings = self._settings(identity, minutes)
        model, _ = load_weights(self.weights)
        self.adaptation = Adaptation(
            self.config, model, new, old, self.folder, self._warn, self.grids
        )
        self.new, self.old = new, old
        seconds = self._announce()
        self.config = self.adaptation.config
        if minutes is not None and settings is None:
            steps = max(10, int(60 * minutes / (seconds * 1.15)))  # watching takes time too
            self.config = self.adaptation.config = dataclasses.replace(self.config, steps=steps)
        self._keep_settings(identity, minutes)
        left = (self.config.steps - self.adaptation.step) * seconds * 1.15 / 60
        self.say(
            f"{self.config.steps - self.adaptation.step} steps in {self.config.precision}, "
            f"about {max(left, 0.1):.1f} minutes"
        )

    def _domains(
        self,
        noise: Path | None,
        pairs: tuple[Path, Path] | None,
        speech: Path | None,
        rooms: Path | None,
    ) -> tuple[Domain, Domain, str]:
        config = self.config
        noise_split, speech_split, room_parts = open_data()
        old = mixed_domain(config, config.old_mixing, noise_split, speech_split, room_parts)
        if pairs is not None:
            paired, self.found = read_pairs(*pairs)
            return paired_domain(config, paired), old, _identity(paired)
        assert noise is not None
        heard, self.warnings = listen(noise, self._voice_level_db)
        self.found = found(heard)
        place = split([one.samples for one in heard], [one.group for one in heard])
        voices_split = read_speech(speech) if speech else speech_split
        mixing = dataclasses.replace(config.mixing, snr_db=config.snr_db)
        if rooms is not None:
            room_parts = read_rooms(rooms, mixing.direct_ms)
            mixing = dataclasses.replace(mixing, room_probability=1.0)
        new = mixed_domain(config, mixing, place, voices_split, room_parts)
        parts = [place, *([voices_split] if speech else [])]
        return new, old, " ".join(map(_identity, parts)) + f" {rooms}"

    def _voice_level_db(self, samples: NDArray[np.float32]) -> float:
        voice = voice_alone(self.base, samples)
        kept, whole = (float(np.mean(x.astype(np.float64) ** 2)) for x in (voice, samples))
        return 10 * math.log10(max(kept, 1e-20) / max(whole, 1e-20))

    def _settings(self, identity: str, minutes: float | None) -> dict[str, Any] | None:
        """Those of the run that was stopped here, if any; with --minutes its steps hold."""
        path = self.folder / "settings.json"
        if not path.exists():
            return None
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept = stored["config"]
        if minutes is not None:
            self.config = dataclasses.replace(self.config, steps=kept["steps"])
        if self.config.precision == "auto":
            self.config = dataclasses.replace(self.config, precision=kept["precision"])
        if stored != self._as_settings(identity, minutes):
            raise ValueError(
                f"{self.folder} holds a run with other recordings or settings that was stopped; give them again to "
                "go on, another -o, or --overwrite to start anew"
            )
        return stored

    def _as_settings(self, identity: str, minutes: float | None) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "recordings": identity,
            "minutes": minutes,
            "weights_sha256": weights_sha256(self.weights),
        }

    def _keep_settings(self, identity: str, minutes: float | None) -> None:
        if not self.is_first:
            return
        self.folder.mkdir(exist_ok=True)
        text = json.dumps(self._as_settings(identity, minutes), indent=1)
        (self.folder / "settings.json").write_text(text + "\n", encoding="utf-8")

    def _announce(self) -> float:
        """Say what is trained; returns the seconds that a step takes."""
        training = self.adaptation.training
        count = trained_count(training)
        detail = ""
        if isinstance(training, PartialTraining):
            detail = f" in {sum(row.trained > 0 for row in training.plan.rows)} layers"
        whole = " that stay whole" if self.grids else ""
        self.trained_words = (
            f"{self.config.method}: trains {count:,} of {self.parameters:,} numbers{whole}{detail}, "
            f"{stored_bytes(training) / 1000:.0f} kB as an adapter; "
            f"{self.config.old_crops} of {self.config.batch_crops} mixtures of a step are of the original domain"
        )
        self.say(self.trained_words)
        if self.adaptation.step:
            self.say(f"going on from step {self.adaptation.step}")
        return self.adaptation.choose_precision()

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        self.say(f"warning: {message}")

    def choose_strength(self) -> None:
        """Settle how much of what the best step learned is used."""
        if len(self.config.strengths) > 1:
            self.say("choosing how much of what was learned is used")
        self.choice = adapt_strength.choose(
            self.config,
            (self.new, self.old),
            self.base,
            lambda strength: trial_model(self.adaptation, strength, self.weights, self.folder),
        )
        for line in self.choice.lines():
            self.say(line)

    def write_model(self) -> None:
        """Write the adapter and the model files of the best step so far, at the chosen strength."""
        temporary = self.folder / "merged.safetensors"
        try:
            write_merged(
                self.adaptation, self.choice.strength, self.weights, self.target, temporary
            )
            write_model_file(temporary, self.model_path)
            if self.small_path is not None:
                self.say("choosing the widths of the int8 model's weights")
                export_int8(temporary, self.small_path)
        finally:
            temporary.unlink(missing_ok=True)
        self.say(f"step {self.adaptation.best_step} was the best")
        for path in (self.target, self.model_path, self.small_path):
            if path is not None:
                self.say(f"{path}: {path.stat().st_size:,} bytes")

    def report(self) -> list[str]:
        """Score what was written on what was held out, write the report, end the run; why it is no success."""
        proof = prove(
            (self.base, ModelFile(self.model_path)),
            (self.new, self.old),
            self.config.report_mixtures,
            self.unpaired,
            self.say,
            ModelFile(self.small_path) if self.small_path else None,
        )
        for warning in proof.unpaired.warnings() if proof.unpaired else ():
            self._warn(warning)
        problems = adapt_report.failures(proof.new, proof.old, self.config.steps)
        facts = self._facts(proof, problems)
        adapt_report.write_json(self.target.with_suffix(".report.json"), facts)
        page = self.target.with_suffix(".report.html")
        rate_hz = self.base.info.sample_rate_hz
        picture = self._picture(proof.signals, rate_hz)
        write_page(page, self.target.stem, facts, proof.signals, rate_hz, picture)
        self.say(f"{page}: what came of it, to read, see and hear")
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems

    def _facts(self, proof: Proof, problems: list[str]) -> dict[str, Any]:
        return {
            "success": not problems,
            "problems": problems,
            "found": self.found,
            "warnings": self.warnings,
            "held_out": {"new": self.new.held_out, "original": self.old.held_out},
            "interval": "95 %, Student's t of the paired change over the mixtures",
            "new": adapt_report.as_json(proof.new),
            "original": adapt_report.as_json(proof.old),
            "int8": adapt_report.as_json(proof.small) if proof.small else None,
            "unpaired": adapt_unpaired.as_json(proof.unpaired) if proof.unpaired else None,
            "best_step": self.adaptation.best_step,
            "strength": self.choice.as_json(),
            "trained": trained_count(self.adaptation.training),
            "trained_words": self.trained_words,
            "adapter_bytes": self.target.stat().st_size,
            "weights_sha256": weights_sha256(self.weights),
            "config": to_dict(self.config),
            "watched_loss": adapt_report.history_json(self.adaptation.history),
        }

    def _picture(self, signals: dict[str, NDArray[np.float32]], rate_hz: int) -> bytes | None:
        try:
            return adapt_report.picture(self.adaptation.history, signals, rate_hz)
        except ModuleNotFoundError as error:
            self.say(f"no picture, {error.name} is not installed; {how_to_install('plot')}")
            return None


def _identity(parts: Split) -> str:
    return fingerprint(piece for pieces in parts.pieces.values() for piece in pieces)
