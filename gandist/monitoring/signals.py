"""Cheap signals of a run's health, read once a tick without an evaluation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gandist.conditions.condition import Condition
from gandist.conditions.sample import OfSample
from gandist.gan.players import Players
from gandist.media.medium import Medium
from gandist.monitoring.health import CHANGE, FAITHFUL, MOTION, SIGNALS, SIGNALS_OF_SAMPLES, WORST, WORST_CLASS

N = 64
"""Images compared with one another; with classes, as many as the chosen classes have."""
CLASSES, EACH = 16, 16
"""At most this many classes are probed, with this many images each (more of few classes)."""
CANDIDATES = 4096
"""The run's first images, from which the probed ones are chosen: their shards are fetched first anyway."""
PAIRS = 30
"""Minimum number of pairs of one class for a meaningful mean distance."""

LEAST_ERROR = 1e-3
"""Mean difference, an eighth of a level of 8 bits, up to which a floor is the target."""


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


class Targets:
    """The real samples that conditions were made of: G's outputs for these conditions are compared with them."""

    def __init__(self, x: Tensor, floor: Tensor | None, coarse: Callable[[Tensor], Tensor]) -> None:
        """x (n, ...): the targets, n at least 2; `floor`: what needs no learning to come near them, if anything does;
        `coarse` as a `Probe`'s."""
        self._features, self._coarse = coarse(x).double(), coarse
        self.names, self._floor = [FAITHFUL], floor
        if floor is not None and (error := (x - floor).abs().mean().double()) > LEAST_ERROR:
            self.names, self._error = [FAITHFUL, CHANGE], error

    def look(self, outputs: Tensor, features: Tensor) -> Tensor:
        """The values that `names` names, float64, of outputs (n, ...) for the targets' conditions, and of their coarse
        features.

        Faithful is 1 less the mean distance of an output from its own target, over that from all other targets: 1 if
        outputs are their targets, 0 if they lie no nearer to them than to any. Change is the mean distance of outputs
        from the floor, over that of targets: 0 if G copies what needs no learning.
        """
        n, away = len(outputs), torch.cdist(features.double(), self._features)
        own = away.diagonal().mean()
        others = (away.sum() - n * own) / (n * (n - 1))
        values = [1 - own / others]
        if self._floor is not None and CHANGE in self.names:
            values.append((outputs - self._floor).abs().mean().double() / self._error)
        return torch.stack(values)


def targets_of(condition: Condition, medium: Medium, x: Tensor, y: Tensor | None) -> Targets | None:
    """The targets of a run whose conditions y are made of the samples x (n, ...), with the best that needs no learning;
    None in any other run, or for a single sample."""
    if not isinstance(condition, OfSample) or y is None or len(x) < 2:
        return None
    floors = condition.maker.floors(y, medium.network_shape)
    return Targets(x, next(iter(floors.values()), None), medium.coarse)


class Probe:
    """Fixed latents, and real samples: the variety of G's samples from them is compared with that of the real ones."""

    def __init__(
        self,
        x: Tensor,
        z: Tensor,
        y: Tensor | None,
        coarse: Callable[[Tensor], Tensor],
        targets: Targets | None = None,
        motion: Callable[[Tensor], Tensor | None] = lambda x: None,
    ) -> None:
        """x (n, ...): real samples as D sees them; y: their conditions, also used with the latents z (n, latents);
        `coarse`: maps samples to the features that are compared (`Medium.coarse`); `targets`: x again, if y is made of
        it; `motion`: how much each sample moves, None if they have no frames (`Medium.motion`)."""
        self.z, self.y, self._coarse, self._targets = z, y, coarse, targets
        i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
        groups, names = [torch.ones_like(i, dtype=torch.bool)], ["signal/diversity"]
        if y is not None and not y.is_floating_point():
            classes = torch.unique(y)
            groups += [y[i] == y[j], *((y[i] == label) & (y[j] == label) for label in classes)]
            names += ["signal/diversity_within", *(f"{label}" for label in classes.tolist())]
        weights = torch.stack(groups).double()
        pairs = weights.sum(1, keepdim=True)
        real = weights / pairs @ self._distances(coarse(x))
        # A class whose real samples are all the same gives nothing to compare with.
        kept = (pairs[:, 0] >= PAIRS) & (real > 0)
        kept[0] = True
        self._weights, self._real = (weights / pairs)[kept], real[kept]
        self._names = [name for name, there in zip(names, kept.tolist(), strict=True) if there]
        # Real samples that stand still give nothing to compare with, either.
        self._motion, moves = motion, motion(x)
        self._real_motion = None if moves is None or not moves.any() else moves.double().mean()

    @staticmethod
    def _distances(h: Tensor) -> Tensor:
        """Distances between all pairs of rows of h (n, F): (pairs,), float64."""
        return torch.pdist(h.double())

    @torch.no_grad()
    def look(self, players: Players, nonfinite: Tensor) -> Tensor:
        """The values that `named` names, float64, on the device; `nonfinite` is one of them.

        Diversity is the mean distance between two samples of G, divided by that between two real ones; also within
        classes, and within each class with enough samples. It uses G itself, not its average, which would show a
        collapse late. Drift is |G - G_ema| / |G_ema| over the weights. Motion is the mean over G's samples, divided by
        that over real ones. The values of `Targets` come last.
        """
        G, G_ema = players.G.net, players.G_ema.eval()
        # Run G's weights and statistics in the average's modules, which are in evaluation mode: G keeps training.
        state = dict(G.state_dict())
        parts = [(self.z[i : i + N], None if self.y is None else self.y[i : i + N]) for i in range(0, len(self.z), N)]
        outputs = [functional_call(G_ema, state, part) for part in parts]
        coarse = torch.cat([self._coarse(each) for each in outputs])
        ours, theirs = ([weight.data for weight in net.parameters()] for net in (G, G_ema))
        norm = torch.nn.utils.get_total_norm
        drift = norm(torch._foreach_sub(ours, theirs)) / norm(theirs)
        values = [torch.stack([drift.double(), nonfinite.double()])]
        values.append(self._weights @ self._distances(coarse) / self._real)
        if self._real_motion is not None:
            moves = [found.double() for each in outputs if (found := self._motion(each)) is not None]
            values.append((torch.cat(moves).mean() / self._real_motion)[None])
        if self._targets is not None:
            values.append(self._targets.look(torch.cat(outputs), coarse))
        return torch.cat(values)

    def named(self, values: list[float]) -> dict[str, float]:
        """The entries of a row from a look's values: of single classes, only the least diverse one and its number."""
        others = [MOTION] if self._real_motion is not None else []
        others += [] if self._targets is None else self._targets.names
        seen = dict(zip(["signal/drift", "signal/nonfinite", *self._names, *others], values, strict=True))
        by_class = {int(name): seen.pop(name) for name in self._names if name.isdigit()}
        row = {name: seen[name] for name in (*SIGNALS, MOTION, *SIGNALS_OF_SAMPLES) if name in seen}
        if by_class:
            worst = min(by_class, key=lambda label: by_class[label])
            row |= {WORST: by_class[worst], WORST_CLASS: worst}
        return row
