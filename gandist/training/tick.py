"""Values gathered between two rows of `metrics.jsonl`: a `Tally` on the device, a `Tick` of times on the host."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gandist.distributed.background import Moment, arrival, to_host
from gandist.distributed.ranks import Ranks
from gandist.gan.players import Players
from gandist.monitoring.signals import Probe


class Tally:
    """Sums of the steps' statistics since the last row, on the device."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        """`names`: names of the statistics that each step returns."""
        self.names = names
        self._sums, self._finite = (torch.zeros(len(names), device=device) for _ in range(2))
        penalties = [name.startswith("penalty/") for name in names]
        self._penalties = torch.tensor(penalties, device=device)

    def add(self, statistics: Tensor) -> None:
        """Add a step's statistics. Penalties are NaN in updates in which they are not due."""
        finite = statistics.isfinite()
        self._sums += torch.where(finite, statistics, 0.0)
        self._finite += finite

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The sums, and how many values each is of, both live."""
        return self._sums, self._finite

    def begin(self) -> None:
        """Forget the steps so far."""
        for tensor in self.tensors():
            tensor.zero_()

    def means(self) -> Tensor:
        """The mean of each statistic over the steps in which it was finite, float64."""
        return (self._sums / self._finite).double()

    def nonfinite(self, steps: int) -> Tensor:
        """The share of `steps` in which a loss, a score or a gradient was not finite, ()."""
        return 1 - self._finite.masked_fill(self._penalties, torch.inf).min() / steps


class Tick:
    """A rank's steps since the last row.

    Args:
        images_seen: images seen at the tick's beginning.
    """

    def __init__(self, images_seen: int, device: torch.device) -> None:
        self._since_images, self._since, self._device = images_seen, Moment(device), device
        self.steps, self.wait_s, self.stall_s = 0, 0.0, 0.0

    def add(self, steps: int, wait_s: float) -> None:
        """Count steps, and their wait for images."""
        self.steps, self.wait_s = self.steps + steps, self.wait_s + wait_s

    def end(
        self, players: Players, ranks: Ranks, tally: Tally, probe: Probe, damaged: int
    ) -> Callable[[], dict[str, Any]]:
        """End the tick here; returns a function that waits for its metrics, equal on all ranks, which all call it.

        This is the only point where statistics leave the device; steps may follow before they have arrived.

        Args:
            damaged: this rank's samples that were replaced by sound ones.
        """
        skipped = torch.stack([players.D.skipped, players.G.skipped])
        p = players.memory["augment"][:1] if "augment" in players.memory else torch.zeros_like(skipped[:1])
        looks = probe.look(players, tally.nonfinite(self.steps))
        numbers = to_host(torch.cat([tally.means(), skipped, p, looks]))
        arrived, ended, images = arrival(self._device), Moment(self._device), players.images_seen - self._since_images

        def read() -> dict[str, Any]:
            arrived()
            tick_s = ended.since(self._since)
            timing = torch.tensor([self.wait_s, self.stall_s, tick_s, float(damaged)], dtype=torch.float64)
            values = ranks.mean(torch.cat([numbers, timing])).tolist()
            named = [*tally.names, "skipped/D", "skipped/G", "augment/p"]
            wait_s, stall_s, tick_s, mean_damaged = values[-len(timing) :]
            return {
                **dict(zip(named, values, strict=False)),
                **probe.named(values[len(named) : -len(timing)]),
                "img_per_s": images / tick_s,
                "tick_s": tick_s,
                "data_wait_s": wait_s,
                "checkpoint_stall_s": stall_s,
                "steps": self.steps,
                "damaged": mean_damaged,
            }

        return read
