"""This rank's rows of each global batch, prepared ahead of the step."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from gandist.data.order import Order
from gandist.data.resident import RawBatch
from gandist.data.sets import SampleSet
from gandist.data.streamed import StreamedSet
from gandist.distributed.background import to_device
from gandist.distributed.randomness import split

CPU = torch.device("cpu")
THREADS = 2
"""Maximum number of batches prepared at once: the next one begins while the last samples of one are decoded."""


class Feed:
    """Data loader of global batches in order, starting at `images_seen`; each call of `next` advances one global batch.

    For a GPU it gathers batches into pinned memory and copies them on its own stream, in parallel to the step. torch
    caches pinned memory, and reuses a buffer when the copies from it are complete.
    """

    def __init__(
        self,
        samples: SampleSet,
        order: Order,
        *,
        batch: int,
        images_seen: int,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 3,
        device: torch.device = CPU,
    ) -> None:
        self.samples, self.order, self.batch = samples, order, batch
        self.rows, self.device = split(batch, rank, world_size), device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._position = images_seen
        # Each batch has a fixed place in the queue.
        threads = min(THREADS, samples.threads) if isinstance(samples, StreamedSet) else THREADS
        self._threads = ThreadPoolExecutor(threads, "feed", initializer=self._begin)
        self._ready: deque[Future[tuple[RawBatch, torch.cuda.Event | None]]] = deque()
        for _ in range(prefetch):
            self._ask()

    def _begin(self) -> None:
        if self._stream is not None:
            torch.cuda.set_device(self.device)  # per thread; otherwise it would pin memory through the first GPU

    def _ask(self) -> None:
        self._ready.append(self._threads.submit(self._load, self._position))
        self._position += self.batch

    def _load(self, position: int) -> tuple[RawBatch, torch.cuda.Event | None]:
        """A batch, and on a GPU the event of its arrival."""
        numbers = self.order.take(position, self.batch)[self.rows]
        with torch.cuda.stream(self._stream):  # None on a CPU
            room = self._room(len(numbers))
            rows, found = self.samples.gather(numbers, None if room is None else room.numpy())
            conditions = torch.from_numpy(np.ascontiguousarray(found))
            given = torch.from_numpy(rows) if room is None else room
            batch = RawBatch(to_device(given, self.device), to_device(conditions, self.device))
        return batch, None if self._stream is None else self._stream.record_event()

    def _room(self, n: int) -> Tensor | None:
        """Pinned memory for n samples; None on a CPU, where numpy's own memory causes fewer page faults."""
        if self._stream is None:
            return None
        row = self.samples.medium.row
        return torch.empty((n, *row.shape), dtype=row.tensor_dtype, pin_memory=True)

    def next(self) -> RawBatch:
        """Return the next batch, waiting until it is ready. On a GPU, use it only on the stream of this call.

        Raises:
            DataError: a sample is damaged and `data.on_damage` is to stop the run.
        """
        batch, arrived = self._ready.popleft().result()
        self._ask()
        if arrived is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(arrived)
            for tensor in batch:
                tensor.record_stream(stream)  # otherwise torch would reuse its memory before it is read
        return batch

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
