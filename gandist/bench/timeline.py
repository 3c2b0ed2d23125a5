"""When gradients become ready in a step: recorded on one rank, replayed by several that only send, and predicted.

Of n ranks that share few cores none can compute as it would alone. So the time that a rank computes is recorded once,
and is slept by each of the n; what they send, and when, is real.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from gandist.bench.measure import block
from gandist.bench.ranks import Watched
from gandist.config.run import RunConfig
from gandist.distributed.ranks import Ranks, join

WARM_UP = 3


@dataclass(frozen=True)
class Timeline:
    """A step of one rank: for each update, its buckets as (seconds since the step began, bytes)."""

    step_s: float
    updates: list[list[tuple[float, int]]]

    @property
    def sizes(self) -> list[int]:
        return [bytes for buckets in self.updates for _, bytes in buckets]

    @property
    def overlap(self) -> float:
        """Share of the step in which gradients can travel while others are computed."""
        return sum(buckets[-1][0] - buckets[0][0] for buckets in self.updates) / self.step_s

    def as_long_as(self, other: "Timeline") -> "Timeline":
        """The same with all times multiplied, so that the step takes as long as the other."""
        factor = other.step_s / self.step_s
        return Timeline(other.step_s, [[(at * factor, bytes) for at, bytes in buckets] for buckets in self.updates])

    def without_overlap(self) -> "Timeline":
        """The same with one bucket for each update."""
        whole = [[(buckets[-1][0], sum(bytes for _, bytes in buckets))] for buckets in self.updates]
        return Timeline(self.step_s, whole)

    def step_with(self, communication_s: Callable[[int], float]) -> float:
        """Seconds of a step whose buckets are averaged one after the other, in `communication_s` of their bytes each.

        An update waits for its last bucket; what follows is as much later.
        """
        late = free = 0.0
        for buckets in self.updates:
            for ready_s, bytes in buckets:
                free = max(free, ready_s + late) + communication_s(bytes)
            late = max(late, free - buckets[-1][0])
        return self.step_s + late


def record(config: RunConfig, steps: int) -> dict[str, Any]:
    """The fields of a `Timeline`: medians of `steps` steps. For a rank alone in its process group."""
    ranks = join(config.device)
    watched = Watched(config.optim.gradients == "bf16", "never")
    step = block(watched.step_of(config, ranks).eager, ranks.device)
    times, ready = [], []
    for _ in range(WARM_UP + steps):
        watched.buckets.clear()
        start = time.perf_counter()
        times.append(step(1))
        ready.append([at - start for at, _, _ in watched.buckets])
    updates: list[list[tuple[float, int]]] = [[]]
    for at, (_, bytes, last) in zip(np.median(ready[WARM_UP:], 0), watched.buckets, strict=True):
        updates[-1].append((float(at), bytes))
        if last:
            updates.append([])
    return {"step_s": float(np.median(times[WARM_UP:])), "updates": updates[:-1]}


def play(timeline: Timeline, ranks: Ranks) -> float:
    """Seconds of a step that sleeps while it would compute, and averages buckets when they would be ready."""
    buffers = {bytes: torch.zeros(bytes // 4) for bytes in timeline.sizes}
    late, start = 0.0, time.perf_counter()

    def wait_until(moment_s: float) -> None:
        time.sleep(max(0.0, start + late + moment_s - time.perf_counter()))

    for buckets in timeline.updates:
        sent = []
        for ready_s, bytes in buckets:
            wait_until(ready_s)
            sent.append(dist.all_reduce(buffers[bytes].clone(), group=ranks.gradients, async_op=True))
        for each in sent:
            each.wait()
        late = time.perf_counter() - start - buckets[-1][0]
    wait_until(timeline.step_s)
    return time.perf_counter() - start


def send(timeline: Timeline, ranks: Ranks) -> float:
    """Seconds to average the buckets of a step one after the other, with nothing in between."""
    buffers = [torch.zeros(bytes // 4) for bytes in timeline.sizes]
    start = time.perf_counter()
    for buffer in buffers:
        dist.all_reduce(buffer, group=ranks.gradients)
    return time.perf_counter() - start


def half_round_trip(ranks: Ranks, trips: int = 50) -> float:
    """Seconds from rank to rank of a message without content: median between the first two."""
    times, message = [], torch.zeros(1)
    for _ in range(trips if ranks.rank < 2 else 0):
        start = time.perf_counter()
        for sender in (0, 1):
            if ranks.rank == sender:
                dist.send(message, 1 - sender, group=ranks.gradients)
            else:
                dist.recv(message, sender, group=ranks.gradients)
        times.append((time.perf_counter() - start) / 2)
    return float(np.median(ranks.gather(times)[0]))
