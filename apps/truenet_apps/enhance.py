"""The `enhance` command.

Nothing heavy is imported before the options are understood, so that --help answers at once.
"""

import contextlib
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from truenet.faders import DEFAULT_NOISE_DB, DEFAULT_ROOM_DB, DEFAULT_VOICE_DB, linear_gain
from truenet_apps import enhance_options as options
from truenet_apps.enhance_plan import PIPE, Naming, Plan, make_plan
from truenet_apps.signals import exit_on_signals

if TYPE_CHECKING:
    from truenet_apps.enhance_file import Settings

USAGE, INTERRUPTED, CLOSED_PIPE = 2, 130, 141

app = typer.Typer(add_completion=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(no_args_is_help=True)
def enhance(
    inputs: options.Inputs,
    voice: options.Voice = DEFAULT_VOICE_DB,
    room: options.Room = DEFAULT_ROOM_DB,
    noise: options.Noise = DEFAULT_NOISE_DB,
    stems: options.Stems = False,
    linked: options.Linked = False,
    model: options.Model = None,
    adapter: options.Adapter = None,
    output: options.Output = None,
    recursive: options.Recursive = False,
    format_: options.Format = None,
    subtype: options.Subtype = None,
    raw: options.Raw = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    replace_bad_samples: options.ReplaceBadSamples = False,
    plot: options.Plot = False,
    jobs: options.Jobs = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
    version: options.Version = False,
) -> None:
    """Take noise and reverberation out of recorded speech.

    Any format, sample rate and channels; what comes out is of the same kind, aligned and as long.
    """
    suffix = None if format_ is None else f".{format_.removeprefix('.')}"
    naming = Naming(output, suffix, stems, plot, overwrite, skip_existing)
    try:
        if model is not None and adapter is not None:
            raise ValueError("--model and --adapter exclude each other: give one of them")
        for name, level_db in (("voice", voice), ("room", room), ("noise", noise)):
            linear_gain(level_db, name)
        plan = make_plan(inputs, recursive, naming)
        _check_pipes(plan, naming, raw, json)
        from truenet_apps.enhance_file import Settings

        settings = Settings(
            voice, room, noise, stems, linked, model, subtype, raw, replace_bad_samples
        )
        settings.check()
    except ValueError as error:
        _stop(error, USAGE)
    raise typer.Exit(_carry_out(plan, settings, adapter, jobs or os.cpu_count() or 1, json, quiet))


def _carry_out(
    plan: Plan, settings: "Settings", adapter: Path | None, jobs: int, json: bool, quiet: bool
) -> int:
    from truenet_apps.enhance_batch import run_tasks
    from truenet_apps.enhance_file import open_model
    from truenet_apps.enhance_report import Report

    report = Report(plan, quiet)
    try:
        if adapter is not None:
            from truenet_apps.adapter_model import model_of

            settings = dataclasses.replace(settings, model=model_of(adapter))
        model = open_model(settings.model)
        with (
            report.progress() as progress,
            contextlib.closing(run_tasks(plan.tasks, settings, jobs, progress)) as outcomes,
        ):
            for outcome in outcomes:
                report.add(outcome)
    except ValueError as error:
        _stop(error, 1)
    except KeyboardInterrupt:
        _stop("interrupted; finished files stay, nothing else is left behind", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    code = report.finish()
    if json:
        print(report.summary(settings, model.info))
    return code


def _check_pipes(plan: Plan, naming: Naming, raw: str | None, json: bool) -> None:
    """Refuse what standard input and output cannot do.

    Raises:
        ValueError: with what to do instead.
    """
    reads = any(task.source == PIPE for task in plan.tasks)
    writes = any(task.audio == (PIPE,) for task in plan.tasks)
    if raw is not None and not reads:
        raise ValueError("--raw says what standard input is; use it with - as the input")
    if reads and sys.stdin.isatty():
        raise ValueError("standard input is a terminal; pipe audio into it")
    if not writes:
        return
    if json:
        raise ValueError("standard output cannot be audio and --json; write to a file with -o")
    if naming.stems or naming.plot:
        raise ValueError("--stems and --plot write files; name one with -o")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal; pipe it on, or name a file with -o")


def _stop(reason: object, code: int) -> NoReturn:
    print(f"enhance: {reason}", file=sys.stderr)
    raise typer.Exit(code)


def run() -> None:
    """Entry point of the `enhance` command."""
    exit_on_signals()
    app()
