"""This process among the others that train: who it is, and the few things ranks do together."""

import inspect
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """Position of this process. `control` is a CPU group for small decisions, apart from the gradients' group."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this rank writes what is written once a run."""
        return self.rank == 0

    def agree_max(self, value: int) -> int:
        """The largest of the ranks' values."""
        if self.control is None:
            return value
        tensor = torch.tensor([value], dtype=torch.int64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return int(tensor[0])

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a float64 CPU tensor over the ranks; NaN anywhere gives NaN."""
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
            values /= self.world_size
        return values

    def gather(self, value: object) -> list[object]:
        """Each rank's value, on every rank. (Small plain values between our own ranks, not stored data.)"""
        if self.control is None:
            return [value]
        values: list[object] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values


def pick_device(choice: str, local_rank: int = 0) -> torch.device:
    """`auto` is this rank's GPU where there is one, else the CPU."""
    if choice == "cuda" or (choice == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def join(device_choice: str) -> Ranks:
    """Find out this process's rank, from a process group that stands, from `torchrun`'s environment, or alone."""
    launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if not dist.is_initialized() and not launched:
        device = pick_device(device_choice)
        return Ranks(0, 1, 0, device)
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    # Ray shows a worker its own GPU only, torchrun shows it all of the node's.
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = pick_device(device_choice, local_rank if local_rank < visible else 0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    control = dist.new_group(backend="gloo", timeout=timedelta(minutes=30))
    return Ranks(dist.get_rank(), dist.get_world_size(), local_rank, device, control)


def distributed(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` with its gradients averaged over the ranks; as it is where this process is alone."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return module
    # Buffers stay each rank's own. torch 2.13 renamed the option and warns of the old name.
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    return DistributedDataParallel(
        module,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **{buffers: False},
    )
