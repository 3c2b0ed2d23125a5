"""Memory of a rank's device, in bytes: its limit, its use, and this process's peak.

On CPUs, the limit is the one that kills the process: that of its cgroup if it has one, else the machine's memory.
"""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")
_PEAK = re.compile(r"VmHWM:\s+(\d+)")


def peak_bytes(device: torch.device) -> int:
    """Peak memory of the device's tensors so far; on CPUs, of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return int(_PEAK.findall(Path("/proc/self/status").read_text())[0]) * 1024
    except (OSError, IndexError):  # not Linux, where `ru_maxrss` would count the process that started this one
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def limit_bytes(device: torch.device) -> int:
    """Total memory of the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return min([_machine_bytes(), *(limit for limit, _ in _cgroups())])


def used_bytes(device: torch.device) -> int:
    """Memory in use by anyone, without memory that the kernel would reclaim before refusing any."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    machine = _machine_bytes()
    limit, used = min(_cgroups(), default=(machine, 0))
    return used if limit < machine else machine - _available_bytes()


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _available_bytes() -> int:
    try:
        return _fields(Path("/proc/meminfo"))["MemAvailable:"] * 1024
    except (OSError, KeyError):  # not Linux
        return _machine_bytes() - peak_bytes(torch.device("cpu"))


def _cgroups() -> Iterator[tuple[int, int]]:
    """(limit, in use) of this process's cgroup and its parents that limit memory, for either cgroup version."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controllers == "":
            root, names = CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(path.strip("/"))
        for folder in dict.fromkeys(root / part for part in (group, *group.parents)):
            try:
                limit, used = (int((folder / name).read_text()) for name in names[:2])
                yield limit, used - _fields(folder / "memory.stat").get(names[2], 0)
            except (OSError, ValueError):  # outside this process's view, or `max`: no limit
                continue


def _fields(file: Path) -> dict[str, int]:
    """The fields of a file of names and numbers."""
    return {name: int(value) for name, value, *_ in map(str.split, file.read_text().splitlines())}
