"""Processes forked from one whose imports are made, so that starting them costs milliseconds and not seconds.

They are processes of their own: they can be killed, and share nothing with the test. What it is to start `python -m
gandist.train` afresh, other tests say (tests/system/test_readme.py, tests/system/test_wheel.py).
"""

import contextlib
import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cluster.local import free_port

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.helpers.imported"])


def forked(log: Path, function: Callable[..., Any], *arguments: Any, **environment: str) -> BaseProcess:
    """A process that has started on a function of some module; what it says goes to the end of the file `log`."""
    process = CONTEXT.Process(target=_begin, args=(log, {**os.environ, **environment}, function, arguments))
    with contextlib.chdir(ROOT):  # where the first one finds `tests`
        process.start()
    return process


def command(log: Path, module: str, *words: str, **environment: str) -> BaseProcess:
    """`python -m MODULE WORDS`, forked."""
    return forked(log, _main, module, words, **environment)


def ranks(world_size: int, folder: Path, module: str, *words: str) -> list[BaseProcess]:
    """The ranks that `torchrun` would start, forked; what each says is in `folder`, by its number."""
    size = {"WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(world_size)}
    at = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        command(folder / f"{rank}.log", module, *words, RANK=str(rank), LOCAL_RANK=str(rank), **size, **at)
        for rank in range(world_size)
    ]


def first_line(log: Path, process: BaseProcess) -> str:
    """What the process says first, as soon as it does.

    Raises:
        AssertionError: it ended before, or said nothing within a minute.
    """
    end = time.monotonic() + 60
    while "\n" not in (said := log.read_text() if log.exists() else ""):
        assert process.exitcode is None, said
        assert time.monotonic() < end, said
        time.sleep(0.02)
    return said.split("\n")[0]


def on_ranks(world_size: int, folder: Path, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in the ranks of a process group, to their ends.

    Raises:
        AssertionError: a rank failed, or they took more than five minutes.
    """
    store = folder / f"ranks-{len([*folder.glob('ranks-*')])}"
    store.mkdir()
    size = {"WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(world_size)}
    ranks = {
        rank: forked(
            store / f"{rank}.log", _rank, store, function, arguments, RANK=str(rank), LOCAL_RANK=str(rank), **size
        )
        for rank in range(world_size)
    }
    try:
        while ranks:
            ended = wait([process.sentinel for process in ranks.values()], timeout=300)
            assert ended, f"ranks {sorted(ranks)} have not ended"
            for rank, process in [*ranks.items()]:
                if process.sentinel in ended:
                    process.join()
                    assert process.exitcode == 0, f"rank {rank}:\n{(store / f'{rank}.log').read_text()}"
                    del ranks[rank]
    finally:
        for process in ranks.values():
            process.kill()
            process.join()


def _begin(log: Path, environment: Mapping[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(function(*arguments))


def _main(module: str, words: tuple[str, ...]) -> int:
    return int(importlib.import_module(module).main(words))


def _rank(store: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store / 'store'}",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    function(*arguments)
    dist.destroy_process_group()
