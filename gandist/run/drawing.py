"""Samples of a generator, drawn in batches on all devices."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.ranks import pick_device
from gandist.run.trained import BATCH, Conditions, Trained

AHEAD = 2
"""Batches that each device draws ahead of the consumer."""


def devices_of(choice: str) -> list[torch.device]:
    """All GPUs if `choice` (`auto`, `cpu` or `cuda`) selects a GPU, otherwise the CPU.

    Raises:
        ConfigError: `choice` is `cuda`, and there is no GPU.
    """
    device = pick_device(choice)
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if device.type == "cuda" else [device]


def drawn(
    trained: Trained, z: Tensor, y: Conditions | None = None, devices: Sequence[torch.device] = ()
) -> Generator[np.ndarray, None, None]:
    """Samples of G for latents and conditions, in order: rows of the medium in batches of BATCH; the last may be
    smaller.

    Each device has a copy of G and a thread; batches go to the devices in turn. Sample i is the same, bit for
    bit, for any number of samples and for any number of devices of one kind.

    Args:
        devices: the first must be that of `trained`; default: only that one.
    """
    replicas = [trained, *map(trained.on, devices[1:])]
    threads, chosen = torch.get_num_threads(), torch.backends.cudnn.deterministic
    waiting: deque[Future[np.ndarray]] = deque()
    torch.backends.cudnn.deterministic = True  # some convolution algorithms sum in random order
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
    torch.set_num_threads(threads)  # a new thread does not inherit it
    if device.type == "cuda":
        torch.cuda.set_device(device)
