"""How ranks average gradients: the size of a bucket, and the number format in which gradients travel."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import unwrap
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Averaging:
    """Options of `DistributedDataParallel`; the defaults are its own."""

    bucket_mib: float | None = None
    """Upper bound of a bucket; a larger parameter is a bucket of its own. None: 1 MiB for the first, 25 for others."""
    bf16: bool = False
    """Whether gradients are rounded to bf16, divided by the number of ranks, summed in bf16, and converted back."""

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {} if self.bucket_mib is None else {"bucket_cap_mb": self.bucket_mib}

    def register(self, wrapped: DistributedDataParallel, group: dist.ProcessGroup) -> None:
        """Set the communication hook, which can be set only once, before the first backward pass."""
        if self.bf16:
            wrapped.register_comm_hook(group, average_in_bf16)


USUAL = Averaging()


class Uncompiled(DistributedDataParallel):
    """DDP that does not import torch's compiler, which takes more than a second: DDP reads one of its settings as it is
    built, and guards its forward pass from it. The networks inside may be compiled all the same."""

    _inside_ddp_forward = contextmanager(unwrap(DistributedDataParallel._inside_ddp_forward))

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with _setting_without_compiler():
            super().__init__(*arguments, **options)


@contextmanager
def _setting_without_compiler() -> Iterator[None]:
    """Gives DDP the default of the setting, which only code that has imported the compiler can have changed."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    stand_in = StandIn(
        "torch._dynamo", utils=StandIn("torch._dynamo.utils", get_optimize_ddp_mode=lambda: "ddp_optimizer")
    )
    vars(torch)["_dynamo"] = stand_in
    try:
        yield
    finally:
        if vars(torch).get("_dynamo") is stand_in:
            del vars(torch)["_dynamo"]


class StandIn:
    """In a module's place: it has some of its attributes, and imports the module for any other."""

    def __init__(self, module: str, **attributes: object) -> None:
        self._module = module
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)


def average_in_bf16(group: dist.ProcessGroup, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """PyTorch's `bf16_compress_hook`, under a name for which DDP does not ask for NCCL: gloo sums bf16 too."""
    return bf16_compress_hook(group, bucket)
