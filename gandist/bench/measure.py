"""Common parts of benchmarks: cases, alternating timings, floating-point operations, memory, and output."""

import ctypes
import json
import math
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gandist.cli.text import number, text_row
from gandist.config.run import RunConfig, override, validate
from gandist.distributed.ranks import pick_device
from gandist.distributed.threads import set_up

KEYS = (
    *("bench", "config", "batch", "precision", "mode", "device", "img_per_s", "ms_per_step"),
    *("tflops", "ceiling_share", "peak_mem_mib", "warmup_s", "ratio"),
)
"""Keys of every record, None if one does not apply; each benchmark adds its own."""
ROUNDS = (5, 25)
"""Minimum and maximum number of blocks of calls for a median."""
Measurement = dict[str, Any]
TimedCalls = Callable[[int], float]
"""Number of calls -> their seconds."""


@dataclass(frozen=True)
class Case:
    """One case: a configuration as named on the command line, and as resolved with all options."""

    name: str
    config: RunConfig

    def record(self, bench: str, **values: Any) -> Measurement:
        """A record. Images per second count real images, and a step shows D `n_critic` batches of them."""
        config = self.config
        known: Measurement = dict.fromkeys(KEYS)
        known |= {"bench": bench, "config": self.name, "batch": config.train.batch}
        if values.get("img_per_s") and "ms_per_step" not in values:
            known["ms_per_step"] = 1e3 * config.train.batch * config.game.n_critic / values["img_per_s"]
        return known | values


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The configuration with some dotted fields replaced."""
    tree = config.resolved()
    for path, value in changes.items():
        override(tree, path, value)
    return validate(tree)


def use_threads(config: RunConfig) -> int:
    """Set up computation as a run does; return the number of CPU threads."""
    set_up(pick_device(config.device), config.launch.threads, config.tf32)
    return torch.get_num_threads()


def synchronise(device: torch.device) -> None:
    """Wait for the GPU to finish its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def block(call: Callable[[], object], device: torch.device) -> TimedCalls:
    """The time of n consecutive calls; it waits for the GPU only at the end."""

    def seconds(n: int) -> float:
        synchronise(device)
        start = time.perf_counter()
        for _ in range(n):
            call()
        synchronise(device)
        return time.perf_counter() - start

    return seconds


def in_turn(blocks: Mapping[str, TimedCalls], seconds: float, multiple: int = 1) -> dict[str, float]:
    """Median seconds per call of each, over the blocks of `all_in_turn`."""
    return {name: float(np.median(each)) for name, each in all_in_turn(blocks, seconds, multiple).items()}


def all_in_turn(blocks: Mapping[str, TimedCalls], seconds: float, multiple: int = 1) -> dict[str, list[float]]:
    """Seconds per call of each, block by block; the number of blocks is within ROUNDS, and all take about `seconds`.

    The blocks take turns, so that other load on the machine affects all alike. A block is a `multiple` of calls.
    """
    shortest = {name: run(multiple) for name, run in blocks.items()}
    rounds = int(np.clip(seconds / max(shortest.values()), *ROUNDS))
    lengths = {name: multiple * max(1, round(seconds / rounds / each)) for name, each in shortest.items()}
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, run in blocks.items():
            times[name].append(run(lengths[name]) / lengths[name])
    return times


DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def product(device: torch.device, precision: str) -> tuple[TimedCalls, float]:
    """A large square matrix product in a precision, an upper bound of a step's speed; and its floating-point
    operations."""
    size = 8192 if device.type == "cuda" else 1024
    a, b, out = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(3))
    return block(lambda: torch.mm(a, b, out=out), device), 2.0 * size**3


def _convolved(x: Tensor, weight: Tensor, transposed: bool, out: Tensor) -> int:
    positions = x if transposed else out
    flops: int = 2 * positions.numel() // positions.shape[1] * weight.numel()
    return flops


def _convolution(args: tuple[Any, ...], out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return _convolved(x, weight, transposed, out)


def _convolution_backward(args: tuple[Any, ...], out: Any) -> int:
    grad, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return _convolved(x, weight, transposed, grad) * sum(map(bool, wanted[:2]))


# torch's own formulas count the weight gradient of a grouped convolution as if it had no groups.
CONVOLUTIONS = {
    torch.ops.aten.convolution: _convolution,
    torch.ops.aten._convolution: _convolution,
    torch.ops.aten.convolution_backward: _convolution_backward,
}


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Counts the floating-point operations of matrix products and convolutions, two per multiply-add.

    It sees calls that reach the dispatcher: forward, first and second backward, and forward mode. It does not count
    element-wise operations, normalisation, resampling, and custom kernels. (`torch.utils.flop_counter.FlopCounterMode`
    counts by module, which fails under `torch.autograd.grad`.)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out, packet = func(*args, **kwargs), func._overloadpacket
        if packet in CONVOLUTIONS:
            self.total += CONVOLUTIONS[packet](args, out)
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=out)
        return out


class Peak:
    """Peak memory from here on: on a GPU that of tensors, on a CPU the growth of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats(device)
            self.what = "allocated on the GPU"
            return
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory that glibc keeps would be reused without counting
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's high-water mark
        self.what = "growth of resident memory"
        self._before = _kib("VmRSS:")

    def mib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return max(0, _kib("VmHWM:") - self._before) / 1024


def _kib(field: str) -> int:
    """A line of this process's status in KiB; without /proc the highest value ever."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def as_json(record: Measurement) -> str:
    return json.dumps({key: _plain(value) for key, value in record.items()})


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MeasurementTable:
    """Records as rows of text, printed one by one."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns, self._begun = columns, False

    def row(self, record: Measurement) -> str:
        """The record's line; the column names precede the first."""
        head = "" if self._begun else self._line(self.columns) + "\n"
        self._begun = True
        return head + self._line([cell(record.get(column)) for column in self.columns])

    def _line(self, cells: tuple[str, ...] | list[str]) -> str:
        widths = [max(len(column), 16 if column in ("config", "what", "data") else 8) for column in self.columns]
        return text_row(cells, widths, right=[column for column, width in enumerate(widths) if width < 16])


def cell(value: Any) -> str:
    """A value as a table cell: numbers with about four digits."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(each)}" for name, each in value.items())
    if isinstance(value, float):
        return number(value, power_from=math.inf)
    return str(value)
