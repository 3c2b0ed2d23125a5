"""One update of a player on its mean loss over micro-batches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gandist.gan.players import Player

Number = Tensor | float
"""A scalar, on the device if the step may be captured: a graph would freeze a host number at its first value."""


class Descent:
    """What all games share: mixed precision, and batches in micro-batches."""

    def __init__(self, device: torch.device, precision: str, accumulate: int) -> None:
        self.autocast, self.accumulate = autocast(device, precision), accumulate

    def descend(
        self,
        player: Player,
        loss_of: nn.Module,
        parts: list[tuple[Any, ...]],
        weights: Mapping[str, Number],
        factor: Number | None = None,
    ) -> Tensor:
        """One update of `player` on the mean loss over `parts`; returns (statistics..., gradient norm).

        The loss takes each part, the weights of its penalties, and the objective's factor if there is one.
        """
        scheduled = (weights,) if factor is None else (weights, factor)
        player.optimizer.zero_grad()
        sums: list[Tensor] = []
        for i, part in enumerate(parts):
            with on_the_last(loss_of, i + 1 == len(parts)):
                with self.autocast():
                    loss, statistics = loss_of(*part, *scheduled)
                player.scaler.scale(loss / len(parts)).backward()
            sums.append(statistics)
        norm = player.update()
        return torch.cat([torch.stack(sums).mean(0).float(), norm.float()[None]])

    def parts(self, *values: Any) -> list[tuple[Any, ...]]:
        """Split into micro-batches: each tensor, also inside mappings, in `accumulate` equal chunks."""
        return list(zip(*(chunks(value, self.accumulate) for value in values), strict=True))


def chunks(value: Tensor | Mapping[str, Tensor] | None, parts: int) -> list[Any]:
    """A tensor, or a mapping of tensors, split into `parts` equal parts; `parts` times None for None."""
    if value is None:
        return [None] * parts
    if isinstance(value, Tensor):
        return list(value.chunk(parts))
    return [{name: tensor.chunk(parts)[i] for name, tensor in value.items()} for i in range(parts)]


def on_the_last(loss_of: nn.Module, last: bool) -> AbstractContextManager[None]:
    """A context for a micro-batch's backward pass: ranks average gradients only in the last one."""
    return loss_of.no_sync() if isinstance(loss_of, DistributedDataParallel) and not last else nullcontext()


def autocast(device: torch.device, precision: str) -> Callable[[], torch.autocast]:
    """A context that runs networks in `precision`; without effect for fp32 and fp64."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return lambda: torch.autocast(device.type, dtype, enabled=dtype is not None)
