"""This process among the training ranks: its position, and the collective calls."""

import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gandist.distributed.averaging import USUAL, Averaging, Uncompiled
from gandist.errors import ConfigError

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long ranks wait for each other before the first step: decoding a large set takes long."""


@dataclass(frozen=True)
class Ranks:
    """Position of this process among the `world_size` training ranks."""

    rank: int
    world_size: int
    device: torch.device
    gradients: dist.ProcessGroup | None = None
    """Group of the training ranks, which averages gradients; None if this process is alone."""
    control: dist.ProcessGroup | None = None
    """The same ranks on the CPU, for small decisions."""
    everyone: dist.ProcessGroup | None = None
    """All started processes, surplus ranks included, on the CPU."""
    setting_up: dist.ProcessGroup | None = None
    """The same processes, with the timeout `PATIENCE`."""
    owns_world: bool = False
    """Whether `join` started the process group, so that `leave` must end it."""

    def leave(self) -> None:
        """End the groups after every process has called this: an interpreter that exits before its groups may abort."""
        if self.everyone is None:
            return
        dist.barrier(group=self.everyone)
        if self.owns_world:
            dist.destroy_process_group()
            return
        for group in {self.control, self.everyone, self.setting_up, self.gradients} - {None, dist.group.WORLD}:
            dist.destroy_process_group(group)

    @cached_property
    def stream(self) -> torch.cuda.Stream | None:
        """Stream for steps that are captured, and for which DDP is made: a GPU's default stream cannot be captured.
        None on a CPU."""
        return torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the files of the run."""
        return self.rank == 0

    @property
    def surplus(self) -> bool:
        """Whether this rank is left over when the global batch is divided, so that it only waits."""
        return self.rank >= self.world_size

    def all_reduce_max(self, values: list[int]) -> list[int]:
        """The element-wise maximum over all processes, surplus ranks included."""
        if self.everyone is None:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.everyone)
        result: list[int] = tensor.tolist()
        return result

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a CPU tensor over the training ranks."""
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
            values /= self.world_size
        return values

    def average(self, values: Tensor) -> Tensor:
        """The mean of a tensor on the device over the training ranks, in place."""
        if self.gradients is not None:
            dist.all_reduce(values, group=self.gradients)
            values /= self.world_size
        return values

    def interleave(self, rows: Tensor, n: int) -> Tensor:
        """All n rows on the main rank, none elsewhere; each rank holds its `[rank::world_size]`."""
        if self.control is None:
            return rows
        mine = torch.zeros(-(-n // self.world_size), *rows.shape[1:], dtype=rows.dtype)
        mine[: len(rows)] = rows
        parts = [torch.empty_like(mine) for _ in range(self.world_size)] if self.is_main else None
        dist.gather(mine, parts, dst=0, group=self.control)
        if parts is None:
            return rows[:0]
        return torch.stack(parts, 1).flatten(0, 1)[:n].to(rows.device)

    def broadcast(self, module: nn.Module) -> None:
        """Copy the main rank's parameters and buffers to a module of every training rank, in place."""
        if self.gradients is not None:
            for tensor in module.state_dict().values():
                whole = tensor.contiguous(memory_format=torch.contiguous_format)
                dist.broadcast(whole, src=0, group=self.gradients)
                tensor.copy_(whole)

    def gather(self, value: T) -> list[T]:
        """The value of each training rank, on every training rank."""
        return _gather(value, self.control, self.world_size)

    def precision(self, choice: str) -> str:
        """The common precision of the ranks, with `auto` resolved."""
        if choice != "auto":
            return choice
        return "bf16" if all(self.gather(has_bf16(self.device))) else "fp32"

    def gather_all(self, value: T) -> list[T]:
        """The value of each process, on every process, also surplus ranks; before the first step, with `PATIENCE`."""
        return _gather(value, self.setting_up, dist.get_world_size() if self.setting_up else 1)

    def distributed(self, module: nn.Module, averaging: Averaging = USUAL) -> nn.Module:
        """`module` with its gradients averaged over the ranks; unchanged if this process is alone."""
        if self.gradients is None:
            return module
        # Buffers stay local to each rank. torch 2.13 renamed the option and warns of the old name.
        parameters = inspect.signature(DistributedDataParallel.__init__).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        options: dict[str, Any] = {buffers: False, **averaging.options}
        # One-channel weights have the same layout in both memory formats, and their gradients use the other one.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        with on(self.stream):
            wrapped = Uncompiled(
                module,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                process_group=self.gradients,
                gradient_as_bucket_view=True,
                **options,
            )
        averaging.register(wrapped, self.gradients)
        # DDP would read its clocks every hundredth time, even in the middle of a capture.
        wrapped._set_ddp_runtime_logging_sample_rate(2**31 - 1)  # type: ignore[no-untyped-call]
        return wrapped


@contextmanager
def on(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Queue work on this stream: after the work already on the device's current stream, and before later work there.
    Without a stream nothing changes."""
    if stream is None:
        yield
        return
    usual = torch.cuda.current_stream(stream.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        yield
    usual.wait_stream(stream)


def _gather(value: T, group: dist.ProcessGroup | None, size: int) -> list[T]:
    if group is None:
        return [value]
    values = [value] * size
    dist.all_gather_object(values, value, group=group)
    return values


def pick_device(choice: str, local_rank: int = 0) -> torch.device:
    """`auto` is this rank's GPU if there is one, else the CPU.

    Raises:
        ConfigError: a GPU is requested, and there is none.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda, but there is no GPU here; set device=auto or device=cpu")
    if choice == "cuda" or (choice == "auto" and torch.cuda.is_available()):
        # Ray shows a worker its own GPU only; torchrun shows all GPUs of the node.
        return torch.device("cuda", local_rank if local_rank < torch.cuda.device_count() else 0)
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether a device supports bf16, without emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def lost_contact(error: RuntimeError) -> bool:
    """Whether an error means that another rank is gone or silent. gloo has no error type for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def join(
    device_choice: str, usable: Callable[[int], bool] = lambda world_size: True, timeout_s: float = 600.0
) -> Ranks:
    """Take this process's place: in an existing process group, in `torchrun`'s, or alone.

    Args:
        usable: whether a run can be shared among a given number of ranks; the largest usable number of processes
            trains.
        timeout_s: how long ranks wait for each other in a step. (In an existing group, gradients keep its timeout.)
    """
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(0, 1, pick_device(device_choice))
    device = pick_device(device_choice, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    owns_world, timeout = not dist.is_initialized(), timedelta(seconds=timeout_s)
    if owns_world:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    setting_up = dist.new_group(backend="gloo", timeout=PATIENCE)
    everyone = dist.new_group(backend="gloo", timeout=timeout)
    started = dist.get_world_size()
    world_size = next(size for size in range(started, 0, -1) if usable(size))
    if world_size == started:
        return Ranks(dist.get_rank(), started, device, dist.group.WORLD, everyone, everyone, setting_up, owns_world)
    members = list(range(world_size))
    gradients: dist.ProcessGroup | None = dist.new_group(members, timeout=timeout)
    control: dist.ProcessGroup | None = dist.new_group(members, backend="gloo", timeout=timeout)
    if dist.get_rank() >= world_size:
        gradients = control = None
    return Ranks(dist.get_rank(), world_size, device, gradients, control, everyone, setting_up, owns_world)
