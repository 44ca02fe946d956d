"""The options of `truenet live`, with the words of --help."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_QUEUE_MS = 20.0

Input = Annotated[
    str | None,
    typer.Option("--input", metavar="NAME", help="Microphone: its name, or a part of it."),
]
Output = Annotated[
    str | None,
    typer.Option("--output", metavar="NAME", help="Output: its name, or a part of it."),
]
VirtualMicrophone = Annotated[
    bool,
    typer.Option(
        "--virtual-microphone",
        help="Linux: be a microphone that meetings can pick. On macOS give --output BlackHole, "
        "on Windows --output 'CABLE Input' (VB-CABLE), and pick that cable in the meeting.",
    ),
]
Record = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--record", metavar="BEFORE AFTER", help="Write input and output to two files, in step."
    ),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", metavar="SECONDS", help="End after so long.", min=0.0),
]
Queue = Annotated[
    float,
    typer.Option(
        "--queue", metavar="MS", help="Reserve against dropouts; adds to the delay.", min=0, max=200
    ),
]
ListDevices = Annotated[
    bool, typer.Option("--list-devices", help="List inputs and outputs, and stop.")
]
