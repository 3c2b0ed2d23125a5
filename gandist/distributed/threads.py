"""Compute settings of a rank: on a GPU, whether to use TF32; on a CPU, the number of threads. That number is measured
once per run, since more threads may be slower, and then kept.

The number of threads affects the rounding of sums, so a run keeps the number that it began with.
"""

import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F

GAIN = 1.2
"""Minimum speed-up for which the number of threads is doubled."""
REPEATS = 5


def set_up(device: torch.device, threads: int | None, tf32: bool, before: int | None = None) -> None:
    """Set up this process for computing on a device.

    Args:
        threads: on a CPU, the number of threads; None lets `choose` find it.
        tf32: on a GPU, multiply float32 numbers in TF32.
        before: number of threads that the run has used until now.
    """
    if device.type == "cpu":
        torch.set_num_threads(choose(threads, before))
    else:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32


def choose(asked: int | None, before: int | None) -> int:
    """The number of threads: `asked`, else the run's number `before`, else OMP_NUM_THREADS (set by Ray and torchrun),
    else the fastest of 1, 2, 4 ... up to this rank's share of the CPUs."""
    if asked is not None:
        return asked
    mine = max(1, cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if before is not None and before <= mine:
        return before
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    usual = torch.get_num_threads()
    try:
        return fastest(mine)
    finally:
        torch.set_num_threads(usual)


def cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPUs that this process may use: those it is bound to, within its container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            usable = min(usable, math.ceil(int(limit) / int(period)))
    return max(1, usable)


def fastest(most: int) -> int:
    """The largest of 1, 2, 4 ... up to `most` threads before doubling no longer pays, by a convolution's time."""
    found, least_s = 1, convolution_s(1)
    while 2 * found <= most and GAIN * (taken_s := convolution_s(2 * found)) <= least_s:
        found, least_s = 2 * found, taken_s
    return found


def convolution_s(threads: int) -> float:
    """The shortest time of several forward and backward passes of a typical layer."""
    torch.set_num_threads(threads)
    x, weight = torch.zeros(16, 64, 16, 16, requires_grad=True), torch.zeros(128, 64, 4, 4, requires_grad=True)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        F.conv2d(x, weight, stride=2, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - start)
    return min(times[1:])
