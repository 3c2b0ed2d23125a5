"""This rank's share of each global batch, prepared ahead of the step."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.randomness import split
from gandist.shards.images import Images
from gandist.shards.order import Order


class RawBatch(NamedTuple):
    """pixels (n, R, R, C) uint8 and conditions, labels (n,) int64 or caption vectors (n, text_dim) float32; in pinned
    memory where the device is a GPU."""

    pixels: Tensor
    conditions: Tensor


class Feed:
    """Global batches in order, from `images_seen` on; each call of `next` advances by one global batch."""

    def __init__(
        self,
        images: Images,
        order: Order,
        *,
        batch: int,
        images_seen: int,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 3,
        pin: bool = False,
    ) -> None:
        self.images, self.order, self.batch = images, order, batch
        self.rows, self.pin = split(batch, rank, world_size), pin
        self._position = images_seen
        # One thread keeps the batches in order; decoding below it runs on threads of its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ready: deque[Future[RawBatch]] = deque()
        for _ in range(prefetch):
            self._ask()

    def _ask(self) -> None:
        self._ready.append(self._thread.submit(self._load, self._position))
        self._position += self.batch

    def _load(self, position: int) -> RawBatch:
        numbers = self.order.take(position, self.batch)[self.rows]
        batch = RawBatch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in self.images.gather(numbers)))
        return RawBatch(*(tensor.pin_memory() for tensor in batch)) if self.pin else batch

    def next(self) -> RawBatch:
        """The next batch; waits where it is not ready.

        Raises:
            DataError: a sample is damaged and damage is to stop the run.
        """
        batch = self._ready.popleft().result()
        self._ask()
        return batch

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def on_device(pixels: Tensor, device: torch.device, dtype: torch.dtype, mirrored: Tensor | None = None) -> Tensor:
    """uint8 (n, R, R, C) -> (n, C, R, R) in [-1, 1] on the device, channels last; rows of `mirrored` flipped.

    The transfer carries uint8: a quarter of the bytes, and no float arithmetic on the CPU.
    """
    x = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
    if mirrored is not None:
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x.to(dtype, memory_format=torch.channels_last).div_(127.5).sub_(1)
