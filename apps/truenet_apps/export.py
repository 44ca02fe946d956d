"""`truenet export`: weights to the one model file."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    weights: Annotated[Path, typer.Argument(help="Weights (.safetensors) from `truenet train`.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
) -> None:
    """Make the ONNX model file of trained weights."""
    if target.suffix != ".onnx":
        raise ValueError(f"{target}: a model file ends in .onnx")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; give --overwrite to replace it")
    from truenet_export.model_file import export as write

    write(weights, target)
    typer.echo(f"{target}: {target.stat().st_size:,} bytes", err=True)
