"""Cheap signals of a run's health, read once a tick without an evaluation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gandist.gan.players import Players
from gandist.monitoring.health import SIGNALS, WORST, WORST_CLASS

N = 64
"""Images compared with one another; with classes, as many as the chosen classes have."""
CLASSES, EACH = 16, 16
"""At most this many classes are probed, with this many images each (more of few classes)."""
CANDIDATES = 4096
"""The run's first images, from which the probed ones are chosen: their shards are fetched first anyway."""
PAIRS = 30
"""Minimum number of pairs of one class for a meaningful mean distance."""


def chosen(labels: np.ndarray | None, candidates: int) -> np.ndarray:
    """Ascending positions (n,) of the images to probe, among `candidates` images in random order.

    Without labels, the first N. With labels (candidates,), the first EACH of each of the first CLASSES classes, so that
    classes have equal weight and a rare one is seen too. Few classes get more images each, up to N in all.
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
    """Fixed latents, and real images: the variety of G's images from them is compared with that of the real ones."""

    def __init__(self, x: Tensor, z: Tensor, y: Tensor | None, coarse: Callable[[Tensor], Tensor]) -> None:
        """x (n, ...): real samples as D sees them; y: their conditions, also used with the latents z (n, latents);
        `coarse`: maps samples to the features that are compared (`Medium.coarse`)."""
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
        # A class whose real images are all the same gives nothing to compare with.
        kept = (pairs[:, 0] >= PAIRS) & (real > 0)
        kept[0] = True
        self._weights, self._real = (weights / pairs)[kept], real[kept]
        self._names = [name for name, there in zip(names, kept.tolist(), strict=True) if there]

    @staticmethod
    def _distances(h: Tensor) -> Tensor:
        """Distances between all pairs of rows of h (n, F): (pairs,), float64."""
        return torch.pdist(h.double())

    @torch.no_grad()
    def look(self, players: Players, nonfinite: Tensor) -> Tensor:
        """The values that `named` names, float64, on the device; `nonfinite` is one of them.

        Diversity is the mean distance between two images of G, divided by that between two real ones; also within
        classes, and within each class with enough images. It uses G itself, not its average, which would show a
        collapse late. Drift is |G - G_ema| / |G_ema| over the weights.
        """
        G, G_ema = players.G.net, players.G_ema.eval()
        # Run G's weights and statistics in the average's modules, which are in evaluation mode: G keeps training.
        state = dict(G.state_dict())
        parts = [(self.z[i : i + N], None if self.y is None else self.y[i : i + N]) for i in range(0, len(self.z), N)]
        coarse = [self._coarse(functional_call(G_ema, state, part)) for part in parts]
        ours, theirs = ([weight.data for weight in net.parameters()] for net in (G, G_ema))
        norm = torch.nn.utils.get_total_norm
        drift = norm(torch._foreach_sub(ours, theirs)) / norm(theirs)
        diversity = self._weights @ self._distances(torch.cat(coarse)) / self._real
        return torch.cat([torch.stack([drift.double(), nonfinite.double()]), diversity])

    def named(self, values: list[float]) -> dict[str, float]:
        """The entries of a row from a look's values: of single classes, only the least diverse one and its number."""
        seen = dict(zip(["signal/drift", "signal/nonfinite", *self._names], values, strict=True))
        by_class = {int(name): seen.pop(name) for name in self._names if name.isdigit()}
        row = {name: seen[name] for name in SIGNALS if name in seen}
        if by_class:
            worst = min(by_class, key=lambda label: by_class[label])
            row |= {WORST: by_class[worst], WORST_CLASS: worst}
        return row
