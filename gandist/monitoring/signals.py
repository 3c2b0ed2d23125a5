"""Cheap signs of how a run fares, read once a tick: nothing that an evaluation would be needed for."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gandist.gan.players import Players
from gandist.monitoring.health import SIGNALS, WORST, WORST_CLASS

N = 64
"""Images that are compared with one another; with classes, as many as these have."""
CLASSES, EACH = 16, 16
"""At most so many classes are looked at, and so many images of each are enough."""
CANDIDATES = 4096
"""The run's first images, among which those to look at are chosen: their shards are fetched first anyway."""
PAIRS = 30
"""So many pairs of one class are needed for their mean distance to say something."""


def chosen(labels: np.ndarray | None, candidates: int) -> np.ndarray:
    """Which of so many images, in random order, are looked at: ascending positions (n,).

    The first N. With labels (candidates,), the first EACH of each of the CLASSES that come first, so that classes weigh
    alike, and a rare one is seen as well as others; of few classes more, up to N in all.
    """
    if labels is None:
        return np.arange(min(N, candidates))
    met, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    by_class = np.argsort(numbers, kind="stable")
    begins = np.searchsorted(numbers[by_class], np.arange(len(met)))
    place = np.empty_like(by_class)
    place[by_class] = np.arange(len(numbers)) - begins[numbers[by_class]]
    looked_at = np.isin(numbers, np.argsort(first)[:CLASSES])
    return np.flatnonzero(looked_at & (place < max(EACH, N // len(met))))


class Probe:
    """Latents that stay the same, and real images with whose variety that of their images is compared."""

    def __init__(self, x: Tensor, z: Tensor, y: Tensor | None, coarse: Callable[[Tensor], Tensor]) -> None:
        """x (n, ...): real samples as D sees them; y: their conditions, which z (n, latents) is drawn to; `coarse`:
        what samples are compared by (`Medium.coarse`)."""
        self.z, self.y, self._coarse = z, y, coarse
        i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
        groups, names = [torch.ones_like(i, dtype=torch.bool)], ["signal/diversity"]
        if y is not None and not y.is_floating_point():
            classes = torch.unique(y)
            groups += [y[i] == y[j], *((y[i] == label) & (y[j] == label) for label in classes)]
            names += ["signal/diversity_within", *(f"{label}" for label in classes.tolist())]
        weights = torch.stack(groups).double()
        pairs = weights.sum(1, keepdim=True)
        real = weights / pairs @ self._distances(coarse(x))
        # Images of one class that are all the same leave nothing to compare with.
        kept = (pairs[:, 0] >= PAIRS) & (real > 0)
        kept[0] = True
        self._weights, self._real = (weights / pairs)[kept], real[kept]
        self._names = [name for name, there in zip(names, kept.tolist(), strict=True) if there]

    @staticmethod
    def _distances(h: Tensor) -> Tensor:
        """Between any two rows of h (n, F): (pairs,), float64."""
        return torch.pdist(h.double())

    @torch.no_grad()
    def look(self, players: Players, nonfinite: Tensor) -> Tensor:
        """The values that `named` names, float64, on the device; `nonfinite` is one of the values.

        Diversity is the mean distance between two images of G, over that between two real ones; the same within
        classes, and within each class of which there are enough. G's own images, not those of its average, in which a
        collapse would show late. Drift is |G - G_ema| / |G_ema| over the weights.
        """
        G, G_ema = players.G.net, players.G_ema.eval()
        # The average's modules, which evaluate, with the weights and statistics of G, which goes on training.
        state = dict(G.state_dict())
        parts = [(self.z[i : i + N], None if self.y is None else self.y[i : i + N]) for i in range(0, len(self.z), N)]
        coarse = [self._coarse(functional_call(G_ema, state, part)) for part in parts]
        ours, theirs = ([weight.data for weight in net.parameters()] for net in (G, G_ema))
        norm = torch.nn.utils.get_total_norm
        drift = norm(torch._foreach_sub(ours, theirs)) / norm(theirs)
        diversity = self._weights @ self._distances(torch.cat(coarse)) / self._real
        return torch.cat([torch.stack([drift.double(), nonfinite.double()]), diversity])

    def named(self, values: list[float]) -> dict[str, float]:
        """What of a look goes into the row: of the single classes the least varied one, and which it is."""
        seen = dict(zip(["signal/drift", "signal/nonfinite", *self._names], values, strict=True))
        by_class = {int(name): seen.pop(name) for name in self._names if name.isdigit()}
        row = {name: seen[name] for name in SIGNALS if name in seen}
        if by_class:
            worst = min(by_class, key=lambda label: by_class[label])
            row |= {WORST: by_class[worst], WORST_CLASS: worst}
        return row
