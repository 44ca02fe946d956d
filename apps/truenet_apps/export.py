"""`truenet export`: weights to the one model file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from truenet_export.int8 import Quantized


def export(
    weights: Annotated[Path, typer.Argument(help="Weights (.safetensors) from `truenet train`.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Store weights in 8 bits or fewer.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="With --int8: folder of noisy speech that decides which weights get fewer bits."
        ),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="With --int8: largest size of the file.")
    ] = 370_688,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="With --int8: compute in float; slower.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="With --int8: folder for a table and a picture of every layer."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="With --int8: also write these weights to train on under their scales."),
    ] = None,
) -> None:
    """Make the ONNX model file of trained weights."""
    if target.suffix != ".onnx":
        raise ValueError(f"{target}: a model file ends in .onnx")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; give --overwrite to replace it")
    if (calibration or report or weights_only or checkpoint) and not int8:
        raise ValueError(
            "--calibration, --weights-only, --report and --checkpoint belong to --int8"
        )
    if checkpoint and checkpoint.exists() and not overwrite:
        raise ValueError(f"{checkpoint} exists; give --overwrite to replace it")
    if int8:
        quantized = _small(weights, target, calibration, max_bytes, weights_only)
        if report:
            from truenet_export.report import write_report

            write_report(quantized, report)
        if checkpoint:
            from truenet_export.checkpoint import write_checkpoint

            write_checkpoint(weights, quantized.rounding, checkpoint)
    else:
        from truenet_export.model_file import export as write

        write(weights, target)
    typer.echo(f"{target}: {target.stat().st_size:,} bytes", err=True)


def _small(
    weights: Path, target: Path, calibration: Path | None, max_bytes: int, weights_only: bool
) -> "Quantized":
    from rich.console import Console
    from rich.progress import Progress

    from truenet_export.int8 import export_int8

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scanning")
        return export_int8(
            weights,
            target,
            calibration,
            max_bytes,
            weights_only,
            lambda done, weights_in_all: bar.update(task, completed=done, total=weights_in_all),
        )
