"""The `truenet` command: one file a subcommand, imported only when it runs."""

import typer

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Speech enhancement that fits on the edge.")


def run() -> None:
    """Entry point of the `truenet` command."""
    app()
