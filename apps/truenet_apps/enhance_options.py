"""The options of `enhance`, with the words of --help."""

from pathlib import Path
from typing import Annotated, Any

import typer

from truenet import __version__


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        print(f"enhance {__version__}")
        raise typer.Exit


def _sound(*names: str, metavar: str = "", text: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel="Sound")


def _files(*names: str, metavar: str = "", text: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel="Files")


def _other(*names: str, metavar: str = "", text: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel="Other", **more)


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, folders, patterns, or - for standard input."),
]

Voice = Annotated[float, _sound("--voice", metavar="DB", text="Level of the voice.")]
Room = Annotated[
    float, _sound("--room", metavar="DB", text="Level of the reverberation; -inf removes it.")
]
Noise = Annotated[
    float, _sound("--noise", metavar="DB", text="Level of the noise; -inf removes it.")
]
Stems = Annotated[
    bool,
    _sound(
        "--stems",
        text="Write NAME_voice, NAME_room and NAME_noise instead: they add up to the input.",
    ),
]
Linked = Annotated[
    bool, _sound("--linked", text="Treat all channels alike, so that the stereo image stays.")
]
Model = Annotated[
    Path | None, _sound("--model", metavar="FILE", text="Another model file (.onnx).")
]
Adapter = Annotated[
    Path | None,
    _sound("--adapter", metavar="FILE", text="What `truenet adapt` learned, instead of --model."),
]

Output = Annotated[
    str | None,
    _files(
        "-o",
        "--output",
        metavar="PLACE",
        text="A file, a folder (names and trees are kept in it), or - for standard output. "
        "Without it, NAME_enhanced.EXT beside the input.",
    ),
]
Recursive = Annotated[bool, _files("-r", "--recursive", text="Search folders in folders.")]
Format = Annotated[
    str | None,
    _files(
        "--format",
        metavar="EXT",
        text="wav, flac, ogg, opus, mp3... instead of the input's format.",
    ),
]
Subtype = Annotated[
    str | None,
    _files(
        "--subtype",
        metavar="TYPE",
        text="PCM_16, PCM_24, FLOAT... instead of the input's sample type.",
    ),
]
Raw = Annotated[
    str | None,
    _files(
        "--raw",
        metavar="TYPE,RATE,CHANNELS",
        text="Standard input and output have no header but are this, such as s16le,16000,1.",
    ),
]
Overwrite = Annotated[bool, _files("--overwrite", text="Replace outputs that exist.")]
SkipExisting = Annotated[
    bool, _files("--skip-existing", text="Leave out inputs whose output exists.")
]
ReplaceBadSamples = Annotated[
    bool, _files("--replace-bad-samples", text="Take NaN and infinite samples for silence.")
]

Plot = Annotated[bool, _other("--plot", text="Draw before and after as a PNG too.")]
Jobs = Annotated[
    int,
    _other(
        "-j",
        "--jobs",
        metavar="N",
        text="Files at the same time, a process each; 0 is one for each core.",
        min=0,
    ),
]
Json = Annotated[bool, _other("--json", text="Print a summary as JSON to standard output.")]
Quiet = Annotated[bool, _other("-q", "--quiet", text="Say nothing but errors.")]
Version = Annotated[
    bool, _other("--version", text="Show the version.", callback=show_version, is_eager=True)
]
