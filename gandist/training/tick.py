"""Values gathered between two rows of `metrics.jsonl`: statistics on the device, times on the host."""

import time
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from gandist.distributed.ranks import Ranks
from gandist.gan.players import Players
from gandist.monitoring.signals import Probe


class Tick:
    """A rank's steps since the last row.

    Args:
        names: names of the statistics that each step returns.
        images_seen: images seen at the tick's beginning.
    """

    def __init__(self, names: Sequence[str], images_seen: int, device: torch.device) -> None:
        self._names, self._device, self._since_images = names, device, images_seen
        self._sums = torch.zeros(len(names), device=device)
        self._finite = torch.zeros(len(names), device=device)
        self._since = time.perf_counter()
        self.steps, self.wait_s, self.stall_s = 0, 0.0, 0.0

    def next(self, images_seen: int) -> Self:
        """A new tick, which begins here."""
        return type(self)(self._names, images_seen, self._device)

    def add(self, statistics: Tensor, wait_s: float) -> None:
        """Add a step's statistics, on the device, and its wait for images."""
        finite = statistics.isfinite()
        self._sums += torch.where(finite, statistics, 0.0)
        self._finite += finite
        self.wait_s += wait_s
        self.steps += 1

    def row(self, players: Players, ranks: Ranks, probe: Probe, damaged: int) -> dict[str, Any]:
        """The metrics of all ranks, equal on each of them: the only point where statistics leave the device.

        `damaged`: this rank's samples that were replaced by sound ones.
        """
        skipped = torch.stack([players.D.skipped, players.G.skipped])
        # Penalties are NaN in updates in which they are not due.
        played = torch.tensor([not name.startswith("penalty/") for name in self._names], device=self._device)
        nonfinite = 1 - self._finite[played].min() / self.steps
        looks = probe.look(players, nonfinite)
        local = torch.cat([(self._sums / self._finite).double(), skipped, looks]).cpu()
        tick_s = time.perf_counter() - self._since
        timing = torch.tensor([self.wait_s, self.stall_s, tick_s, float(damaged)], dtype=torch.float64)
        values = ranks.mean(torch.cat([local, timing])).tolist()
        named = [*self._names, "skipped/D", "skipped/G"]
        wait_s, stall_s, tick_s, mean_damaged = values[-len(timing) :]
        return {
            **dict(zip(named, values, strict=False)),
            **probe.named(values[len(named) : -len(timing)]),
            "img_per_s": (players.images_seen - self._since_images) / tick_s,
            "tick_s": tick_s,
            "data_wait_s": wait_s,
            "checkpoint_stall_s": stall_s,
            "steps": self.steps,
            "damaged": mean_damaged,
        }
