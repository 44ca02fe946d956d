"""All inputs of `enhance`, in this process or in several: a bad file stops no other."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from truenet_apps.enhance_file import Result, Settings, enhance_task
from truenet_apps.enhance_plan import Failure, Task
from truenet_apps.signals import exit_on_signals

Outcome = Result | Failure


def run_tasks(
    tasks: list[Task], settings: Settings, jobs: int, progress: Callable[[float], None]
) -> Generator[Outcome]:
    """Enhance every task.

    Args:
        tasks: inputs and outputs.
        settings: what to do with them.
        jobs: processes; 1 stays in this one.
        progress: told the seconds of audio that are done.

    Yields:
        What became of each task, in the order in which they end.
    """
    with _no_empty_folders(tasks):
        if min(jobs, len(tasks)) > 1:
            yield from _run_in_processes(tasks, settings, jobs, progress)
        else:
            for task in tasks:
                yield _attempt(task, settings, progress)


@contextlib.contextmanager
def _no_empty_folders(tasks: list[Task]) -> Iterator[None]:
    """Remove folders that were made for outputs which then never came."""
    above = {folder for task in tasks for path in task.outputs for folder in path.parents}
    missing = sorted(folder for folder in above if not folder.exists())
    try:
        yield
    finally:
        for folder in reversed(missing):  # the innermost first
            with contextlib.suppress(OSError):  # not made, or not empty
                folder.rmdir()


def _attempt(task: Task, settings: Settings, progress: Callable[[float], None]) -> Outcome:
    try:
        return enhance_task(task, settings, progress)
    except ValueError as error:
        return Failure(task.label, str(error).removeprefix(f"{task.label}: "))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return Failure(task.label, f"{error.strerror or error}; check the disk")
    except MemoryError:
        return Failure(task.label, "out of memory; use fewer --jobs")


def _run_in_processes(
    tasks: list[Task], settings: Settings, jobs: int, progress: Callable[[float], None]
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    ticks: Any = context.Queue()
    with (
        _relayed(ticks, progress),
        concurrent.futures.ProcessPoolExecutor(
            min(jobs, len(tasks)), context, _start_worker, (ticks,)
        ) as pool,
    ):
        futures = {pool.submit(_work, task, settings): task for task in tasks}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield _outcome(future, futures[future])
        except BaseException:  # Ctrl-C or SIGTERM: the workers clean up and end, the pool waits
            for future in futures:
                future.cancel()
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _outcome(future: "concurrent.futures.Future[Outcome]", task: Task) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Failure(task.label, "its process died; out of memory? use fewer --jobs")


class _Worker:
    """Where the processes of the pool send their progress."""

    ticks: Any = None


def _start_worker(ticks: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us after Ctrl-C
    exit_on_signals()
    _Worker.ticks = ticks


def _work(task: Task, settings: Settings) -> Outcome:
    try:
        return _attempt(task, settings, _Worker.ticks.put)
    except SystemExit as ended:  # cleaned up; the pool would only give us the next task
        os._exit(int(ended.code or 0))


@contextlib.contextmanager
def _relayed(ticks: Any, progress: Callable[[float], None]) -> Iterator[None]:
    """Pass on what the workers report while the block runs."""
    done = threading.Event()

    def relay() -> None:
        while not done.is_set():
            with contextlib.suppress(queue.Empty):
                progress(ticks.get(timeout=0.1))

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
