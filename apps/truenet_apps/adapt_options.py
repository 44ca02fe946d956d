"""The options of `truenet adapt`, with the words of --help."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


Target = Annotated[
    Path, _option("--output", "-o", text="The .adapter to write; model and report go beside it.")
]
Noise = Annotated[
    Path | None, _option(text="Folder of recordings of the place without a talker, 10 s or more.")
]
Rooms = Annotated[Path | None, _option(text="Folder of its room responses.")]
Speech = Annotated[Path | None, _option(text="Folder of clean speech; else that of truenet-data.")]
Pairs = Annotated[
    tuple[Path, Path] | None,
    _option(metavar="CLEAN NOISY", text="Two folders of pairs of one name, instead of --noise."),
]
Unpaired = Annotated[
    Path | None,
    _option(text="Folder of talk recorded in the place: levels before and after, no training."),
]
Snr = Annotated[
    tuple[float, float] | None,
    _option(metavar="LOW HIGH", text="How far talk stands above the noise there, in dB: -5 20."),
]
Method = Annotated[str | None, _option(text="paca (the default), full, paca+dropbp, lora or bias.")]
Rank = Annotated[int | None, _option(text="Connections trained of every weight; 16 if left out.")]
Steps = Annotated[int | None, _option(text="200 if left out.")]
Minutes = Annotated[float | None, _option(text="As many steps as fit, instead of --steps.")]
Seed = Annotated[int | None, _option(text="Another one draws other mixtures.")]
Config = Annotated[
    Path | None, _option(text="JSON with settings of AdaptConfig; options go before it.")
]
Weights = Annotated[
    Path | None, _option(text="Adapt these (.safetensors) instead of those in the package.")
]
Export = Annotated[
    bool, _option("--export", text="Write the small model file too, in whole numbers (int8).")
]
Threads = Annotated[int, _option(text="Threads; 0 takes all cores.")]
Overwrite = Annotated[bool, _option(text="Replace what is there; start anew.")]
