"""The options of `enhance`, with the words of --help."""

from pathlib import Path
from typing import Annotated

import typer

from truenet import __version__

SOUND, FILES, OTHER = "Sound", "Files", "Other"


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        print(f"enhance {__version__}")
        raise typer.Exit


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, folders, patterns, or - for standard input."),
]
Voice = Annotated[
    float, typer.Option(metavar="DB", help="Level of the voice.", rich_help_panel=SOUND)
]
Room = Annotated[
    float,
    typer.Option(
        metavar="DB", help="Level of the room's echo; -inf removes it.", rich_help_panel=SOUND
    ),
]
Noise = Annotated[
    float,
    typer.Option(metavar="DB", help="Level of the noise; -inf removes it.", rich_help_panel=SOUND),
]
Stems = Annotated[
    bool,
    typer.Option(
        "--stems",
        help="Write NAME_voice, NAME_room and NAME_noise instead: they add up to the input.",
        rich_help_panel=SOUND,
    ),
]
Linked = Annotated[
    bool,
    typer.Option(
        "--linked",
        help="Treat all channels alike, so that the stereo image stays.",
        rich_help_panel=SOUND,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Another model file (.onnx).", rich_help_panel=SOUND),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PLACE",
        help="A file, a folder (names and trees are kept in it), or - for standard output. "
        "Without it, NAME_enhanced.EXT beside the input.",
        rich_help_panel=FILES,
    ),
]
Recursive = Annotated[
    bool,
    typer.Option("-r", "--recursive", help="Search folders in folders.", rich_help_panel=FILES),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="EXT",
        help="wav, flac, ogg, opus, mp3... instead of the input's format.",
        rich_help_panel=FILES,
    ),
]
Subtype = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="PCM_16, PCM_24, FLOAT... instead of the input's sample type.",
        rich_help_panel=FILES,
    ),
]
Raw = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE,RATE,CHANNELS",
        help="Standard input and output have no header but are this, such as s16le,16000,1.",
        rich_help_panel=FILES,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace outputs that exist.", rich_help_panel=FILES),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing", help="Leave out inputs whose output exists.", rich_help_panel=FILES
    ),
]
ReplaceBadSamples = Annotated[
    bool,
    typer.Option(
        "--replace-bad-samples",
        help="Take NaN and infinite samples for silence.",
        rich_help_panel=FILES,
    ),
]
Plot = Annotated[
    bool,
    typer.Option("--plot", help="Draw before and after as a PNG too.", rich_help_panel=OTHER),
]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        min=0,
        metavar="N",
        help="Files at the same time, a process each; 0 is one for each core.",
        rich_help_panel=OTHER,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print a summary as JSON to standard output.", rich_help_panel=OTHER
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Say nothing but errors.", rich_help_panel=OTHER)
]
Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=show_version,
        is_eager=True,
        help="Show the version.",
        rich_help_panel=OTHER,
    ),
]
