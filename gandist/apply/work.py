"""The work of the command: each picture is read, given to the network, and written, on all devices."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from gandist.apply.holes import AUTO, Holes
from gandist.apply.inputs import Input, result_of
from gandist.apply.network import Network
from gandist.apply.pictures import read_picture
from gandist.apply.stripes import scaled, with_alpha, write_png
from gandist.apply.tiles import Tiling, restored
from gandist.errors import DataError


class Task(NamedTuple):
    """What is done to every picture."""

    out: Path
    cut: Tiling | None
    """None for whole pictures."""
    scale: float
    """How many times wider and higher than its picture a result is."""
    holes: Holes | None = None
    """Of a masked run."""


class Outcome(NamedTuple):
    """What became of a picture."""

    source: Input
    error: str = ""
    """Why there is no result; empty if there is."""
    lost_colours: bool = False
    tiles: int = 1
    pixels: int = 0
    """Of the picture; 0 if there is no result."""


def outcomes(
    networks: Sequence[Network], task: Task, sources: Sequence[Input], tick: Callable[[Input, int, int], None]
) -> Iterator[Outcome]:
    """Do all pictures, each on one of the devices, and tell of them as they are done.

    Args:
        networks: one a device.
        tick: hears of a picture, how many of its tiles are done, and how many it has.
    """
    with deterministic():
        if len(networks) == 1:
            yield from (_outcome(networks[0], task, source, tick) for source in sources)
            return
        stop = threading.Event()

        def heard(source: Input, done: int, tiles: int) -> None:
            if stop.is_set():
                raise InterruptedError(f"{source.path}: given up")
            tick(source, done, tiles)

        threads = (torch.get_num_threads(),)  # which a new thread does not inherit
        pools = [ThreadPoolExecutor(1, "apply", torch.set_num_threads, threads) for _ in networks]
        try:
            waiting: set[Future[Outcome]] = {
                pools[turn % len(pools)].submit(_outcome, networks[turn % len(pools)], task, source, heard)
                for turn, source in enumerate(sources)
            }
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        finally:
            stop.set()
            for pool in pools:
                pool.shutdown(cancel_futures=True)


def _outcome(network: Network, task: Task, source: Input, tick: Callable[[Input, int, int], None]) -> Outcome:
    if network.z.is_cuda:
        torch.cuda.set_device(network.z.device)
    done = 0

    def count(tiles: int) -> None:
        nonlocal done
        done += 1
        tick(source, done, tiles)

    try:
        lost, pixels = _apply(network, task, source, count)
    except DataError as error:
        return Outcome(source, str(error))
    except torch.OutOfMemoryError:
        return Outcome(source, f"{source.path}: does not fit into the GPU's memory; give a smaller --tile")
    except OSError as error:
        return Outcome(source, f"{source.path}: {error}")
    return Outcome(source, "", lost, done, pixels)


def _apply(network: Network, task: Task, source: Input, tick: Callable[[int], None]) -> tuple[bool, int]:
    """Write the result of one picture; return whether its colours were lost, and its number of pixels.

    Raises:
        DataError: the picture or its mask cannot be used.
        OSError: the result cannot be written.
    """
    picture = read_picture(source.path, network.channels, network.grey)
    hole = None if task.holes is None else task.holes.of(source, picture)
    height, width, channels = picture.pixels.shape
    target = (max(1, round(task.scale * height)), max(1, round(task.scale * width)))
    made = (network.factor * height, network.factor * width)
    stripes = scaled(restored(network, picture.pixels, hole, task.cut, tick), made, target)
    opaque = picture.alpha is None or (task.holes is not None and task.holes.mask == AUTO)
    if picture.alpha is not None and not opaque:
        stripes, channels = with_alpha(stripes, picture.alpha, target), channels + 1
    write_png(result_of(source, task.out), stripes, target, channels, picture.profile)
    return picture.lost_colours, height * width


@contextmanager
def deterministic() -> Iterator[None]:
    """Without convolutions that sum in random order."""
    chosen = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = chosen
