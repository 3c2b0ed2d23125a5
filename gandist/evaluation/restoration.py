"""Measures of a G that is given a sample: its outputs beside their targets, and what needs no learning beside both."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.distributed.ranks import Ranks
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.features import RealFeatures, Seen, look_together
from gandist.evaluation.fidelity import Sums
from gandist.evaluation.likeness import Likeness
from gandist.evaluation.statistics import Moments, distance_of
from gandist.run.evaluations import MeasuredGroup
from gandist.run.examples import Examples, Groups
from gandist.run.trained import BATCH, Trained

N_VARIETY = 1000
"""Number of conditions of which two outputs each are compared."""
GROUP_MIN = 50
"""Minimum number of samples for the distances of a group: with fewer, the draw matters more than the group."""
STRENGTH = "strength"
"""Groups by this are many: they get no distances, which take seconds where features are wide."""

Made = Callable[[np.ndarray, Tensor], Tensor]
"""(positions, their conditions) -> outputs (N, ...), 8-bit values in the networks' range."""


MeasuredGroups = dict[tuple[str, str], MeasuredGroup]
"""By what groups differ in, and by name."""
Distances = Callable[[Seen], dict[str, float]]
"""Distances of a set of outputs from the real samples."""


class Restored(NamedTuple):
    """Outputs beside their targets."""

    measures: dict[str, float]
    seen: Seen
    """The extractor's view of the outputs, on the main rank."""
    of_groups: dict[tuple[str, str], dict[str, float]]
    """`measures` within each group."""
    sample_s: float = 0.0
    """Seconds that G took on this rank for a sample."""


class Restoration:
    """Compares outputs with their targets, on all ranks; the main rank gets the results."""

    def __init__(
        self, examples: Examples, real: RealFeatures, extractor: Extractor, likeness: Likeness, ranks: Ranks
    ) -> None:
        """`examples` are of the set of `real`."""
        assert isinstance(examples.condition, OfSample)
        self.examples, self.numbers, self.extractor, self.ranks = examples, real.numbers, extractor, ranks
        self.likeness, self.medium, self.maker = likeness, examples.medium, examples.condition.maker
        # Recognised: only by a classifier of these classes
        known = extractor.name == "classifier" and real.labels.max(initial=-1) + 1 == extractor.classes
        self.labels = torch.from_numpy(real.labels) if known else None
        self._floors: dict[tuple[int, str], Restored] = {}
        self._groups: dict[int, Groups] = {}
        self._floor_groups: dict[int, MeasuredGroups] = {}

    def of(self, trained: Trained, z: Tensor) -> Restored:
        """G's outputs for the first len(z) samples."""
        taken: list[float] = []

        def made(at: np.ndarray, y: Tensor) -> Tensor:
            if not taken:  # G may be captured for the first time
                trained.samples(z[at[:1]], y[:1])
            start = time.perf_counter()
            rows = trained.samples(z[at], y)
            taken.append((time.perf_counter() - start) / len(rows))
            return self.medium.to_network(torch.from_numpy(rows).to(self.ranks.device))

        restored = self._compare(made, len(z))
        return restored._replace(sample_s=statistics.median(taken)) if taken else restored

    def floors(self, n: int) -> dict[str, Restored]:
        """What needs no learning, by name, best first; computed once."""
        sample = self.medium.network_shape
        _, y = self.examples.of(self.numbers[:1])
        assert y is not None
        for name in self.maker.floors(y, sample):
            if (n, name) not in self._floors:

                def made(at: np.ndarray, y: Tensor, name: str = name) -> Tensor:
                    rows = self.medium.from_network(self.maker.floors(y, sample)[name])
                    return self.medium.to_network(rows)

                self._floors[n, name] = self._compare(made, n)
        return {name: restored for (count, name), restored in self._floors.items() if count == n}

    def groups(self, n: int) -> Groups:
        """The groups of the first n samples; computed once."""
        if n not in self._groups:
            self._groups[n] = self.examples.groups(self.numbers[:n])
        return self._groups[n]

    def by_group(
        self, output: Restored, floors: Mapping[str, Restored], n: int, distances: Distances
    ) -> MeasuredGroups:
        """The measures of outputs within each group, and those of the first of `floors`; on the main rank."""
        found = self._within_groups(output, n, distances)
        for name, floor in [*floors.items()][:1]:
            if n not in self._floor_groups:
                self._floor_groups[n] = self._within_groups(floor, n, distances)
            for key, (_, measures, _) in self._floor_groups[n].items():
                found[key] = found[key]._replace(baseline=(name, measures) if measures else None)
        return found

    def _within_groups(self, restored: Restored, n: int, distances: Distances) -> MeasuredGroups:
        found = {}
        for key, members in self.groups(n).items():
            measures, size = restored.of_groups[key], int(members.sum())
            if size >= GROUP_MIN and key[0] != STRENGTH:
                h = restored.seen.h
                measures = measures | distances(restored.seen._replace(h=h[torch.from_numpy(members).to(h.device)]))
            found[key] = MeasuredGroup(size, measures)
        return found

    def measures_of(self, restored: Restored, real: Moments) -> dict[str, float]:
        """Fidelity and Fréchet distance, on the main rank."""
        return {self.extractor.distance: distance_of(real, restored.seen.moments), **restored.measures}

    @torch.no_grad()
    def variety(self, trained: Trained, z: Tensor, z_other: Tensor) -> float:
        """Mean distance between two outputs for one condition, over the first N_VARIETY samples (Zhu et al. 2017,
        arXiv:1711.11586, section 5.1)."""
        mine = np.arange(self.ranks.rank, min(len(z), N_VARIETY), self.ranks.world_size)
        total = 0.0
        for at in np.array_split(mine, max(1, len(mine) // 25)):
            _, y = self.examples.of(self.numbers[at])
            pair = [self.medium.to_network(torch.from_numpy(trained.samples(each[at], y))) for each in (z, z_other)]
            ours, others = (each.to(self.ranks.device) for each in pair)
            total += float(self.likeness.between(ours, others).sum())
        return sum(self.ranks.gather(total)) / min(len(z), N_VARIETY)

    @torch.no_grad()
    def code_counts(self, trained: Trained, n: int) -> Tensor | None:
        """How often each code of G's codebook occurs in the codes of the first n samples, (codes,) int64 on the CPU, on
        every rank; None if G has no codes (a method `code_counts`: conditions (N, ...) -> (codes,))."""
        if not hasattr(trained.G, "code_counts"):
            return None
        G: Any = trained.G
        mine = np.arange(self.ranks.rank, n, self.ranks.world_size)
        counts = torch.zeros((), dtype=torch.int64)
        for at in np.split(mine, range(BATCH, len(mine), BATCH)) if len(mine) else ():
            _, y = self.examples.of(self.numbers[at])
            counts = counts + G.code_counts(y).cpu()
        return sum(self.ranks.gather(counts), torch.zeros((), dtype=torch.int64))

    def _compare(self, made: Made, n: int) -> Restored:
        sums, groups = Sums(), self.groups(n)
        within = {key: Sums() for key in groups}

        @torch.no_grad()
        def rows_of(at: np.ndarray) -> np.ndarray:
            x, y = self.examples.of(self.numbers[at])
            assert y is not None
            out = made(at, y)
            measures = {**self.likeness.measures(out, x, y, at)}
            if self.labels is not None:
                classes = self.extractor.probabilities(out, self.extractor.features(out)).argmax(1)
                known = self.labels[torch.from_numpy(at)].to(classes.device)
                measures["recognised"] = (classes == known).double()
            for name, values in measures.items():
                sums.add(name, values)
                for key, members in groups.items() if len(values) == len(at) else ():
                    within[key].add(name, values[torch.from_numpy(members[at]).to(values.device)])
            return self.medium.from_network(out).cpu().numpy()

        seen = look_together(self.extractor, self.medium, rows_of, n, self.ranks)
        of_groups = {key: each.gathered(self.ranks).means for key, each in within.items()}
        return Restored(sums.gathered(self.ranks).means, seen, of_groups)
