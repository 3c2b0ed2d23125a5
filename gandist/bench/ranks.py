"""Work on several ranks of this machine, and a hook that watches what DDP sends."""

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import FileStore, GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import ProcessException, start_processes
from torch.nn.parallel import DistributedDataParallel

from gandist.bench.links import enter
from gandist.bench.measure import changed
from gandist.bench.static import Static
from gandist.config.run import RunConfig, validate
from gandist.distributed.averaging import average_in_bf16
from gandist.distributed.ranks import Ranks
from gandist.errors import RunError

multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])  # imported once for all ranks

Work = Callable[..., Any]
"""(configuration, arguments...) -> what the main rank returns, as plain data; a function of a module."""


def on_ranks(
    work: Work, config: RunConfig, ranks: int, arguments: Sequence[Any] = (), links: Sequence[str] = ()
) -> Any:
    """What `work` returns on the main rank of `ranks` new processes; `links` names a network namespace for each.

    A rank alone is in a process group only if it has a link.

    Raises:
        RunError: a process failed.
    """
    with tempfile.TemporaryDirectory(prefix="gandist-bench-") as folder:
        given = (ranks, work, config.resolved(), arguments, links, folder)
        try:
            start_processes(_rank, given, ranks, daemon=True, start_method="forkserver")  # type: ignore[no-untyped-call]
        except ProcessException as error:
            raise RunError(f"bench: a rank failed: {error}") from error
        return json.loads((Path(folder) / "result.json").read_text())


def _rank(
    rank: int,
    world_size: int,
    work: Work,
    tree: dict[str, Any],
    arguments: Sequence[Any],
    links: Sequence[str],
    folder: str,
) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    config = validate(tree)
    torch.set_num_threads(config.launch.threads or max(1, (os.cpu_count() or 1) // world_size))
    if links:
        enter(links[rank])
    grouped = world_size > 1 or bool(links)
    if grouped:
        on_gpus = config.device != "cpu" and torch.cuda.device_count() >= world_size and not links
        store = FileStore(f"{folder}/store", world_size)
        dist.init_process_group("nccl" if on_gpus else "gloo", store=store, rank=rank, world_size=world_size)
    result = work(config, *arguments)
    if rank == 0:
        (Path(folder) / "result.json").write_text(json.dumps(result))
    if grouped:
        dist.barrier()
        dist.destroy_process_group()


@dataclass
class Watched:
    """DDP's communication hook: it notes each bucket, and sends it if configured."""

    bf16: bool = False
    sends: Literal["at once", "at the end", "never"] = "at once"
    """`at the end`: all buckets of a backward pass in one all-reduce when the last one is ready."""
    buckets: list[tuple[float, int, bool]] = field(default_factory=list)
    """When each was ready (`time.perf_counter`), its bytes as they are sent, and whether a backward pass ended."""
    waiting: list[tuple[Tensor, torch.futures.Future[Tensor]]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(bytes for _, bytes, _ in self.buckets)

    def step_of(self, config: RunConfig, ranks: Ranks) -> Static:
        """A step of the configuration that is watched; how its gradients travel is up to this."""
        world = Static(changed(config, {"optim.gradients": "full"}), ranks)
        for each in vars(world.game).values():
            if isinstance(each, DistributedDataParallel):
                each.register_comm_hook(ranks.gradients, self.hook)
        return world

    def hook(self, group: dist.ProcessGroup, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        buffer = bucket.buffer()
        bytes = buffer.numel() * 2 if self.bf16 else buffer.nbytes
        self.buckets.append((time.perf_counter(), bytes, bucket.is_last()))
        if self.sends == "at once":
            return average_in_bf16(group, bucket) if self.bf16 else allreduce_hook(group, bucket)
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        self.waiting.append((buffer, done))
        if self.sends == "never" or bucket.is_last():
            self._finish(group)
        return done

    def _finish(self, group: dist.ProcessGroup) -> None:
        buffers = [buffer for buffer, _ in self.waiting]
        if self.sends == "at the end":
            whole = torch.cat(buffers)
            whole = whole.bfloat16() if self.bf16 else whole
            dist.all_reduce(whole.div_(group.size()), group=group)
            for buffer, part in zip(buffers, torch.split(whole, [each.numel() for each in buffers]), strict=True):
                buffer.copy_(part)
        for buffer, done in self.waiting:
            done.set_result(buffer)
        self.waiting.clear()
