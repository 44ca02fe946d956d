"""`truenet verify`: is this model file whole, ours, as good as it says, and fast enough here?"""

import json
from pathlib import Path
from typing import Annotated

import typer


def verify(
    model: Annotated[Path, typer.Argument(help="A .onnx model file.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Compare with the weights it was made from (needs PyTorch)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a model file: bytes, metadata, contract, score and speed. Exits with 1 if any fails."""
    import dataclasses

    from truenet import verification

    checks = list(verification.verify(model))
    if weights:
        from truenet_export.parity import parity

        checks.append(parity(model, weights))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            answer = "ok" if check.passed else "FAILED"
            typer.echo(f"{answer:<7} {check.name:<13} {check.found}")
    if not all(check.passed for check in checks):
        failed = ", ".join(check.name for check in checks if not check.passed)
        typer.echo(f"{model}: not in order ({failed})", err=True)
        raise typer.Exit(1)
