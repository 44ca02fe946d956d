"""Run a function in two processes that know each other by gloo."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

RANKS = 2


def run_ranks(function: Callable[[int], Any], folder: Path) -> list[Any]:
    """What a function of the rank returns in each process; what one raises is raised.

    Args:
        function: of a module, so that another process finds it.
        folder: an empty one.
    """
    torch.multiprocessing.spawn(_rank, (function, str(folder)), nprocs=RANKS)
    return [torch.load(folder / str(rank), weights_only=False) for rank in range(RANKS)]


def _rank(rank: int, function: Callable[[int], Any], folder: str) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(os.path.join(folder, "store"), RANKS)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    torch.save(function(rank), os.path.join(folder, str(rank)))
    distributed.barrier()
    os._exit(
        0
    )  # a busy machine was seen to wait for gloo's threads for ever when they are taken down
