"""`python -m partialgrad.benchmarks`: see `--help`."""

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import torch

from partialgrad.benchmarks.convolutional import convolutional
from partialgrad.benchmarks.report import as_json, as_markdown, circumstances, put_into
from partialgrad.benchmarks.running import Result, Settings, run
from partialgrad.benchmarks.task import Task
from partialgrad.benchmarks.transformer import transformer, wide_transformer

_BUILT_IN: dict[str, Callable[[], Task]] = {
    "transformer": transformer,
    "wide": wide_transformer,
    "convolutional": convolutional,
}


def main(arguments: Sequence[str]) -> None:
    """Run the comparison; the tables go to stdout, and to files after each model; progress to stderr.

    Raises:
        ValueError: a model that cannot be found, or a setting out of its range.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.tasks) - set(_BUILT_IN):
        parser.error(
            f"no built-in model is called {', '.join(unknown)}: take {', '.join(_BUILT_IN)}"
        )
    torch.set_num_threads(options.threads)
    settings = Settings(torch.device(options.device), options.steps, options.rounds)
    makers = [_BUILT_IN[name] for name in options.tasks] + [_factory(m) for m in options.model]
    makers = makers or list(_BUILT_IN.values())
    command = shlex.join(["python", "-m", "partialgrad.benchmarks", *arguments])
    conditions = circumstances(settings, command)
    results: list[Result] = []
    for make in makers:
        results.append(run(make(), settings, lambda text: _write(sys.stderr, text)))
        tables = as_markdown(results, conditions)
        if options.json:
            options.json.write_text(as_json(results, conditions), encoding="utf-8")
        if options.readme:
            put_into(options.readme, tables)
    _write(sys.stdout, tables)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m partialgrad.benchmarks",
        description="Compare ways to fine-tune: time, memory, quality, size of the result.",
    )
    add = parser.add_argument
    add("tasks", nargs="*", help=f"built-in models, of {', '.join(_BUILT_IN)}; default: all")
    add(
        "--model",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="a function without arguments that returns a partialgrad.benchmarks.Task; repeatable",
    )
    add("--steps", type=int, default=60, help="training steps before quality is measured")
    add("--rounds", type=int, default=20, help="steps of every method that are timed")
    add("--device", default="cpu", help="cpu or cuda")
    add("--threads", type=int, default=1, help="of the CPU")
    add("--json", type=Path, metavar="FILE", help="write all numbers there")
    add("--readme", type=Path, metavar="FILE", help="put the tables between this file's markers")
    return parser


def _factory(name: str) -> Callable[[], Task]:
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"--model {name}: give MODULE:FUNCTION")
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise ValueError(f"--model {name}: {module} has no function {function}")

    def make() -> Task:
        task = found()
        if not isinstance(task, Task):
            raise ValueError(f"--model {name}: it returned a {type(task).__name__}, not a Task")
        return task

    return make


def _write(stream: TextIO, text: str) -> None:
    print(text, file=stream, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
