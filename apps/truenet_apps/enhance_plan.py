"""Which files `enhance` reads, and under which names it writes: decided before the first sample.

Plain Python, so that a mistyped name is an error at once.
"""

import dataclasses
import glob
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from truenet.extras import how_to_install
from truenet.suffixes import CONTAINERS, READABLE, SUFFIXES

PARTS = ("voice", "room", "noise")
ENHANCED = "enhanced"
PIPE = Path("-")
SEPARATORS = tuple({os.sep, os.altsep or os.sep})


@dataclasses.dataclass(frozen=True)
class Task:
    """One input and the files that come of it. `audio` has one file, or three with stems; it is
    (PIPE,) where the samples go to standard output.
    """

    source: Path
    audio: tuple[Path, ...]
    plot: Path | None = None

    @property
    def label(self) -> str:
        """The input, as messages call it."""
        return "standard input" if self.source == PIPE else str(self.source)

    @property
    def outputs(self) -> tuple[Path, ...]:
        files = () if self.audio == (PIPE,) else self.audio
        return files if self.plot is None else (*files, self.plot)


@dataclasses.dataclass(frozen=True)
class Failure:
    """An input that came to nothing, and why, in one line."""

    source: str
    reason: str


@dataclasses.dataclass
class Plan:
    """What is to be done, what was left out because it exists, and what cannot be done."""

    tasks: list[Task] = dataclasses.field(default_factory=list)
    skipped: list[Path] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Naming:
    """How outputs are named.

    output: `-o`: a file, a folder (an existing one, or a name without suffix or with a slash at its
        end), `-`, or None for a name beside the input.
    suffix: `--format` as a suffix (.flac), or None for the input's.
    stems: three files instead of one. plot: a picture too.
    overwrite, skip_existing: what happens where an output exists.
    """

    output: str | None = None
    suffix: str | None = None
    stems: bool = False
    plot: bool = False
    overwrite: bool = False
    skip_existing: bool = False

    @property
    def file(self) -> Path | None:
        """The output, where it is one file."""
        if self.output is None or self.output.endswith(SEPARATORS) or os.path.isdir(self.output):
            return None
        path = Path(self.output)
        return path if path == PIPE or path.suffix else None

    def check(self) -> None:
        """Refuse what cannot be done whatever the inputs are.

        Raises:
            ValueError: with what can be done.
        """
        if self.overwrite and self.skip_existing:
            raise ValueError("--overwrite and --skip-existing exclude each other; choose one")
        if self.plot and importlib.util.find_spec("matplotlib") is None:
            raise ValueError(f"--plot needs matplotlib; {how_to_install('plot')}")
        wanted = self.suffix if self.file is None or self.file == PIPE else self.file.suffix
        if wanted is not None and wanted.lower() not in SUFFIXES:
            raise ValueError(f"cannot write {wanted} files; use one of {' '.join(SUFFIXES)}")

    def task(self, source: Path, inside: Path) -> Task:
        """The task for an input; `inside` is its path below the folder that was given."""
        if self.file == PIPE or (source == PIPE and self.output is None):
            return Task(source, (PIPE,))
        base = self._base(source, inside)
        names = tuple(_marked(base, part) for part in PARTS) if self.stems else (base,)
        if self.output is None and not self.stems:
            names = (_marked(base, ENHANCED),)
        picture = _marked(base, ENHANCED) if self.stems or self.output is None else base
        return Task(source, names, picture.with_suffix(".png") if self.plot else None)

    def _base(self, source: Path, inside: Path) -> Path:
        if self.file is not None:
            return self.file
        place = source if self.output is None else Path(self.output) / inside
        if self.suffix is not None:
            return place.with_suffix(self.suffix)
        becomes_wav = self.stems or source.suffix.lower() in CONTAINERS
        return place.with_suffix(".wav") if becomes_wav else place


def make_plan(inputs: Sequence[str], recursive: bool, naming: Naming) -> Plan:
    """Find the inputs and name the outputs.

    Args:
        inputs: files, folders and patterns.
        recursive: search folders below folders too.
        naming: how outputs are named.

    Raises:
        ValueError: one output file for several inputs, or names that cannot be written.
    """
    naming.check()
    plan = Plan()
    found = list(_find(inputs, recursive, plan.failures))
    if naming.file is not None and len(found) > 1:
        raise ValueError(
            f"{len(found)} inputs cannot all become {naming.output}; give a folder: -o enhanced/"
        )
    if len(found) > 1 and any(source == PIPE for source, _ in found):
        raise ValueError("standard input (-) cannot be mixed with other inputs; run it alone")
    originals = {_identity(source) for source, _ in found if source != PIPE}
    taken: dict[Path, Path] = {}
    for source, inside in found:
        task = naming.task(source, inside)
        reason = _clash(task, originals, taken) or _exists(task, naming)
        if reason:
            plan.failures.append(Failure(task.label, reason))
        elif naming.skip_existing and any(path.exists() for path in task.outputs):
            plan.skipped.append(source)
        else:
            plan.tasks.append(task)
            taken |= {path.absolute(): source for path in task.outputs}
    return plan


def _find(
    inputs: Sequence[str], recursive: bool, failures: list[Failure]
) -> Iterator[tuple[Path, Path]]:
    """Every input once, with its path below the folder that was given."""
    seen = set()
    for text in inputs:
        count = 0
        for path in _matches(text):
            for source, inside in _inputs_at(path, recursive):
                count += 1
                if source.absolute() not in seen:
                    seen.add(source.absolute())
                    yield source, inside
        if not count:
            failures.append(Failure(text, _why_nothing(text, recursive)))


def _inputs_at(path: Path, recursive: bool) -> list[tuple[Path, Path]]:
    if path == PIPE:
        return [(PIPE, Path("stdin.wav"))]
    return _audio_below(path, recursive) if path.is_dir() else [(path, Path(path.name))]


def _matches(text: str) -> list[Path]:
    """The path itself, or what the pattern matches: shells that expand nothing pass it on."""
    if text == str(PIPE):
        return [PIPE]
    if os.path.lexists(text) or not glob.has_magic(text):
        return [Path(text)]
    return sorted(Path(match) for match in glob.glob(text, recursive=True))


def _audio_below(folder: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """Audio files in a folder; no hidden ones, and not what `enhance` made of the others."""
    files = sorted(
        path
        for path in folder.glob("**/*" if recursive else "*")
        if path.suffix.lower() in READABLE and path.is_file() and not path.name.startswith(".")
    )
    stems = {path.with_suffix("") for path in files}
    ours = {_marked(stem, mark) for stem in stems for mark in (ENHANCED, *PARTS)}
    return [(path, path.relative_to(folder)) for path in files if path.with_suffix("") not in ours]


def _why_nothing(text: str, recursive: bool) -> str:
    if not os.path.isdir(text):
        return "no file matches this pattern"
    hint = "" if recursive else "; -r searches the folders below it too"
    return f"a folder without audio files{hint}"


def _marked(path: Path, mark: str) -> Path:
    return path.with_name(f"{path.stem}_{mark}{path.suffix}")


def _identity(path: Path) -> tuple[int, int] | Path:
    """The same for two names of one file."""
    try:
        status = path.stat()
    except OSError:
        return path.absolute()
    return status.st_dev, status.st_ino


def _clash(task: Task, originals: set[tuple[int, int] | Path], taken: dict[Path, Path]) -> str:
    for path in task.outputs:
        if _identity(path) in originals:
            return f"the output {path} is an input; choose another name or folder with -o"
        if path.absolute() in taken:
            return f"the output {path} is already that of {taken[path.absolute()]}; run them apart"
    return ""


def _exists(task: Task, naming: Naming) -> str:
    if naming.overwrite or naming.skip_existing:
        return ""
    for path in task.outputs:
        if path.exists():
            return f"the output {path} exists; use --overwrite, --skip-existing or -o"
    return ""
