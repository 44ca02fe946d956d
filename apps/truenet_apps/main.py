"""The `truenet` command: one file a subcommand.

The files import at their top only what `--help` needs; torch, numpy and the rest of truenet are
imported where a command runs.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from truenet.extras import how_to_install
from truenet_apps.adapt import adapt
from truenet_apps.bench import bench
from truenet_apps.doctor import doctor
from truenet_apps.evaluate import evaluate
from truenet_apps.export import export
from truenet_apps.info import info
from truenet_apps.live import live
from truenet_apps.merge import merge
from truenet_apps.serve import serve
from truenet_apps.train import train
from truenet_apps.verify import verify


class OneLineErrors(TyperGroup):
    """Says what is wrong with the input in one line on stderr, and exits with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            message = f"{error.name} is not installed; {how_to_install('train')}"
        except (ValueError, OSError, ImportError) as error:
            message = str(error)
        typer.echo(f"{ctx.info_name}: {message}", err=True)
        raise typer.Exit(1)


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Speech enhancement that fits on the edge.",
)
app.command()(train)
app.command()(adapt)
app.command()(merge)
app.command()(evaluate)
app.command()(info)
app.command()(export)
app.command()(verify)
app.command()(bench)
app.command()(serve)
app.command()(live)
app.command()(doctor)


def run() -> None:
    """Entry point of the `truenet` command."""
    app()
