"""What the base's and the adapted model file do with held-out mixtures of both domains, and with recordings of talk."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from truenet.modelfile import ModelFile
from truenet_apps import adapt_report, adapt_unpaired
from truenet_apps.adapt_domains import Domain
from truenet_apps.adapt_scores import Comparison, Examples, compare
from truenet_apps.adapt_unpaired import Unpaired
from truenet_apps.adapter_model import write_model_file

Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Proof:
    """Scores in both domains, the signals of one mixture of the new one by title, and levels where there was talk.

    small: scores in the new domain of the int8 model of an adaptation in float.
    """

    new: dict[str, Comparison]
    old: dict[str, Comparison]
    signals: dict[str, Samples]
    unpaired: Unpaired | None
    small: dict[str, Comparison] | None


def prove(
    models: tuple[ModelFile, ModelFile],
    domains: tuple[Domain, Domain],
    count: int,
    talk: Sequence[Samples],
    say: Callable[[str], None],
    small: ModelFile | None = None,
) -> Proof:
    """Score and tell.

    Args:
        models: before and after.
        domains: new and original.
        count: of held-out mixtures of each domain.
        talk: unpaired recordings, maybe none.
        say: shows a line.
        small: the int8 model of the adaptation, if there is one.
    """
    say(f"scoring {count} held-out mixtures of each domain")
    new, signals = _compare("new domain", models, domains[0], count, say)
    old, _ = _compare("original domain", models, domains[1], count, say)
    in_whole_numbers = None
    if small is not None:
        in_whole_numbers, _ = _compare("new, with int8", (models[0], small), domains[0], count, say)
    unpaired = adapt_unpaired.listen_to(talk, *models) if talk else None
    for line in adapt_unpaired.lines(unpaired) if unpaired else ():
        say(line)
    return Proof(new, old, signals, unpaired, in_whole_numbers)


def _compare(
    name: str,
    models: tuple[ModelFile, ModelFile],
    domain: Domain,
    count: int,
    say: Callable[[str], None],
) -> tuple[dict[str, Comparison], dict[str, Samples]]:
    examples = Examples.draw(domain.report, count)
    before, after = (examples.voices(model) for model in models)
    found = [examples.scores(given) for given in (examples.noisy, before, after)]
    result = compare(*found)
    for line in adapt_report.lines(name, result):
        say(line)
    say(f"  ({domain.held_out})")
    signals = {
        "noisy": examples.noisy[0],
        "before": before[0],
        "after": after[0],
        "clean": examples.clean[0],
    }
    return result, signals


def model_file(weights: Path) -> ModelFile:
    """The model file of weights, for this process alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model_file(weights, path)
        return ModelFile(path)
