"""The `truenet` command: one file a subcommand, imported only when it runs."""

import typer

from truenet_apps.train import train

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Speech enhancement that fits on the edge.")
app.command()(train)
app.callback()(lambda: None)

def run() -> None:
    """Entry point of the `truenet` command."""
    app()
