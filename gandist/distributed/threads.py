"""How a rank computes: on a GPU in TF32 or not; on a CPU with how many threads, which is measured once a run, for more
of them may be slower, and then kept.

Sums that threads share are rounded by how many they are. So a run goes on with the number that it began with.
"""

import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F

GAIN = 1.2
"""So much faster, at least, twice the threads must be."""
REPEATS = 5


def set_up(device: torch.device, threads: int | None, tf32: bool, before: int | None = None) -> None:
    """Have this process compute on a device.

    Args:
        threads: on a CPU; None has `choose` find their number.
        tf32: on a GPU, multiply in TF32 where numbers are float32.
        before: how many threads the run has had until now.
    """
    if device.type == "cpu":
        torch.set_num_threads(choose(threads, before))
    else:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32


def choose(asked: int | None, before: int | None) -> int:
    """The number of threads: as asked for, as the run had `before`, as OMP_NUM_THREADS says (which Ray and torchrun
    set), or the fastest of 1, 2, 4 ... up to this rank's share of the CPUs."""
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
    """CPUs that this process may use: of the machine's, those that it is bound to, within its container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            usable = min(usable, math.ceil(int(limit) / int(period)))
    return max(1, usable)


def fastest(most: int) -> int:
    """Of 1, 2, 4 ... at most `most` threads the last that was worth its doubling, by a convolution's time."""
    found, least_s = 1, convolution_s(1)
    while 2 * found <= most and GAIN * (taken_s := convolution_s(2 * found)) <= least_s:
        found, least_s = 2 * found, taken_s
    return found


def convolution_s(threads: int) -> float:
    """The shortest of some forward and backward passes of a middle layer."""
    torch.set_num_threads(threads)
    x, weight = torch.zeros(16, 64, 16, 16, requires_grad=True), torch.zeros(128, 64, 4, 4, requires_grad=True)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        F.conv2d(x, weight, stride=2, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - start)
    return min(times[1:])
