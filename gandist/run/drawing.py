"""Samples of a generator, drawn batch after batch on all the devices that there are."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.ranks import pick_device
from gandist.run.trained import BATCH, Trained

AHEAD = 2
"""Batches that each device draws ahead of who takes them."""


def devices_of(choice: str) -> list[torch.device]:
    """Every GPU where `choice` (`auto`, `cpu` or `cuda`) comes to a GPU, else the CPU.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    device = pick_device(choice)
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if device.type == "cuda" else [device]


def drawn(
    trained: Trained, z: Tensor, y: Tensor | None = None, devices: Sequence[torch.device] = ()
) -> Generator[np.ndarray, None, None]:
    """What G makes of latents and conditions, in order: rows of the medium, BATCH at a time but for the last.

    Each device has a copy of G and a thread; batches are dealt to them in turn. Sample i is the same, bit for
    bit, for any number of samples and of devices of one kind.

    Args:
        devices: the first is that of `trained`; by default it alone.
    """
    replicas = [trained, *map(trained.on, devices[1:])]
    threads, chosen = torch.get_num_threads(), torch.backends.cudnn.deterministic
    waiting: deque[Future[np.ndarray]] = deque()
    torch.backends.cudnn.deterministic = True  # of convolutions' algorithms some add up in any order
    try:
        with ExitStack() as stack:
            pools = [stack.enter_context(ThreadPoolExecutor(1, "draw", _begin, (r.device, threads))) for r in replicas]
            for number, first in enumerate(range(0, len(z), BATCH)):
                if len(waiting) == AHEAD * len(pools):
                    yield waiting.popleft().result()
                part, turn = slice(first, first + BATCH), number % len(pools)
                waiting.append(pools[turn].submit(replicas[turn].samples, z[part], None if y is None else y[part]))
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.backends.cudnn.deterministic = chosen


def _begin(device: torch.device, threads: int) -> None:
    torch.set_num_threads(threads)  # which a new thread does not take over by itself
    if device.type == "cuda":
        torch.cuda.set_device(device)
