"""All measures of a generator against real samples, with their protocol."""

import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.data import dataset
from gandist.distributed.randomness import philox
from gandist.distributed.ranks import Ranks
from gandist.errors import DataError
from gandist.evaluation.codes import code_use
from gandist.evaluation.extractor import Extractor, Recogniser
from gandist.evaluation.extractors import kind_of
from gandist.evaluation.features import RealFeatures, Seen, look_together, moments_of, real_features
from gandist.evaluation.kernel import kernel_distance
from gandist.evaluation.likeness import likeness_of, restored_by
from gandist.evaluation.motion import RealMotion, measures_of_motion, real_motion
from gandist.evaluation.neighbours import (
    K_DENSITY,
    K_MANIFOLD,
    manifold_measures,
    novelty,
    novelty_of_training,
    smallest_distances,
)
from gandist.evaluation.paths import EPSILON, path_lengths
from gandist.evaluation.recognition import chance, known, share_recognised
from gandist.evaluation.restoration import Restoration
from gandist.evaluation.statistics import Moments, distance_of
from gandist.evaluation.texts import NLL, Texts, texts_of, told_by
from gandist.media.text import Text
from gandist.media.video import Video
from gandist.monitoring.health import WORST_DISTANCE
from gandist.run.evaluations import Result
from gandist.run.examples import open_examples
from gandist.run.trained import Trained

log = logging.getLogger("gandist")

N_MIN = 2 * (K_DENSITY + 1)
"""Minimum number of real and of generated samples: two halves, each with neighbours."""
N_PAIRS = 10_000
"""Maximum number of samples in pairwise distances: time grows with the square of their number."""
N_PATHS = 1000
"""Number of latent paths for the path length."""
CLASS_MIN = 50
"""Minimum number of samples for a class's distance: with fewer, the draw matters more than the class."""


@dataclass
class Yardstick:
    """An extractor and its features of the real samples, for the evaluation of any number of checkpoints."""

    extractor: Extractor
    ranks: Ranks
    real: RealFeatures
    training: RealFeatures | None
    """The training samples of the generator; None if they cannot be read."""
    prepared: str
    """The preparation of the real samples, in words (`Medium.prepared`)."""
    nouns: tuple[str, str]
    """What a sample is called, and several (`Medium.nouns`)."""
    frames: int = 0
    """Of a clip; 0 of samples without frames."""
    restoration: Restoration | None = None
    """Compares outputs with their targets, if G is given samples."""
    best_by: str | None = None
    """Measure that selects the best checkpoint (`eval.best`)."""
    texts: Texts | None = None
    """Real texts, if samples are texts: the features' nearest neighbours and paths say less of these."""
    moments: Moments = field(init=False)
    floor: float = field(init=False)
    """The Fréchet distance between the two halves of the real samples."""
    motion: RealMotion | None = field(init=False, default=None)
    """How the real samples move, if they are clips."""
    _of_real: dict[int, Tensor] = field(default_factory=dict)
    """Distances between neighbours among the first n real samples, by n; the same in every evaluation."""
    _new: dict[int, float] = field(default_factory=dict)
    """Median distance of the first n real samples to the nearest training sample, by n."""

    def __post_init__(self) -> None:
        if self.ranks.is_main:
            halves = [moments_of(half, self.extractor.parts) for half in self.real.seen.h.chunk(2)]
            self.moments, self.floor = halves[0] + halves[1], distance_of(*halves)
            self.motion = real_motion(self.real.seen.moves, self.frames) if self.frames else None

    @property
    def held_out(self) -> bool:
        """Whether the real samples differ from the generator's training samples."""
        return self.training is not None and self.training.fingerprint != self.real.fingerprint

    def evaluate(self, trained: Trained, n: int, seed: int = 0) -> Result:
        """Measure n samples of a generator; the same seed gives the same values on any number of ranks.

        All ranks draw and extract features; the main rank compares. Memory and time grow linearly in n.
        """
        start = time.perf_counter()
        if self.restoration is not None:
            return self._restored(self.restoration, trained, min(n, len(self.real.numbers)), seed)
        stored = self._conditions(n, seed)
        y = trained.told(stored)
        fake, rows = self._look(trained, y, n, seed)
        looked = time.perf_counter()
        n_paths = 0 if self.texts else min(n, N_PATHS)
        ppl = {"ppl": self._path_length(trained, y, n_paths, seed)} if n_paths else {}
        nll = self.texts.nll(trained, self.ranks) if self.texts else None
        result = None
        if self.ranks.is_main:
            labels = trained.condition.labels(stored)
            measures = self._compare(fake, labels, memorises=self.texts is None) | ppl
            baselines = {}
            if labels is not None and (recogniser := known(self.extractor, self.real)):
                measures["recognised"] = share_recognised(recogniser, fake.h, labels)
                baselines = self._recognised(recogniser)
            if self.motion is not None:
                measures |= measures_of_motion(fake.moves, self.motion, self.frames)
                baselines = {**baselines, f"real {self.nouns[1]}": self.motion.baseline}
            protocol = self._protocol(n, n_paths, seed, start, looked)
            if self.texts is not None:
                measures |= self.texts.measures(rows) | ({} if nll is None else {NLL: nll})
                baselines[f"real {self.nouns[1]}"] = self.texts.of_real(n)
                protocol["texts"] = self.texts.protocol(n)
            result = Result(measures, trained.images_seen, protocol, baselines)
        found = self.ranks.gather(result)[0]
        assert found is not None
        return found

    def _recognised(self, recogniser: Recogniser) -> dict[str, dict[str, float]]:
        """The share of new real samples of which their class is found, and that of samples of any class."""
        seen = share_recognised(recogniser, self.real.seen.h, self.real.labels) if self.held_out else None
        real = recogniser.accuracy if seen is None else seen
        return {
            f"real {self.nouns[1]}, held out": {"recognised": real},
            "chance": {"recognised": chance(self.real.labels)},
        }

    def _restored(self, restoration: Restoration, trained: Trained, n: int, seed: int) -> Result:
        """Measure G's outputs for the first n real samples, beside what needs no learning."""
        start = time.perf_counter()
        z, others = trained.latents(2 * n, seed).chunk(2)
        output, floors = restoration.of(trained, z), restoration.floors(n)
        looked = time.perf_counter()
        variety = restoration.variety(trained, z, others) if z.shape[1] else None
        counts = restoration.code_counts(trained, n)
        result = None
        if self.ranks.is_main:
            found = self._compare(output.seen, None, memorises=False)
            measures = {self.extractor.distance: found.pop(self.extractor.distance), **output.measures, **found}
            measures |= {} if variety is None else {"variety": variety}
            measures |= {} if counts is None else code_use(counts)
            baselines = {name: restoration.measures_of(floor, self.moments) for name, floor in floors.items()}
            protocol = self._protocol(n, 0, seed, start, looked)
            protocol |= restoration.likeness.protocol
            if seconds := restoration.likeness.seconds:
                protocol["times_real_time"] = round(seconds / output.sample_s, 2)
            groups = restoration.by_group(output, floors, n, lambda seen: self._distances(seen, None))
            result = Result(measures, trained.images_seen, protocol, baselines, groups)
        found_result = self.ranks.gather(result)[0]
        assert found_result is not None
        return found_result

    def _protocol(self, n: int, n_paths: int, seed: int, start: float, looked: float) -> dict[str, Any]:
        chosen = {} if self.best_by is None else {"best_by": self.best_by}
        return {
            **chosen,
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256,
            "n_real": len(self.real.seen.h),
            "n_fake": n,
            "resize": f"{self.prepared}, then {self.extractor.resize}",
            "floor": self.floor,
            "floor_is": f"{self.extractor.distance} of one half of the real {self.nouns[1]} to the other",
            "real_fingerprint": self.real.fingerprint,
            "manifold": {"n": self._compared(n), "k_precision_recall": K_MANIFOLD, "k_density_coverage": K_DENSITY},
            **({} if self.texts else self._of_neighbours_and_paths(n_paths)),
            **({} if self.motion is None else {"motion": self.motion.protocol}),
            "seed": seed,
            "device": self.ranks.device.type,
            "workers": self.ranks.world_size,
            "seconds": round(time.perf_counter() - start, 3),
            "seconds_looking": round(looked - start, 3),
        }

    def _of_neighbours_and_paths(self, n_paths: int) -> dict[str, Any]:
        return {
            "memorisation_is": f"nearest training {self.nouns[0]} of generated ones, over that of "
            + (f"held out {self.nouns[1]}" if self.held_out else f"training {self.nouns[1]} to one another")
            + " (medians)",
            "ppl": {"n": n_paths, "epsilon": EPSILON, "distance": "squared Euclidean, of features"},
        }

    def _conditions(self, n: int, seed: int) -> np.ndarray:
        """Stored conditions (n, ...), drawn from those of the real samples, to keep the class frequencies."""
        there = self.real.conditions
        return there[philox(seed, "evaluate/y").integers(len(there), size=n)]

    def _look(self, trained: Trained, y: Tensor | None, n: int, seed: int) -> tuple[Seen, np.ndarray]:
        """The extractor's view of n samples, and their rows if they are texts; on the main rank."""
        z = trained.latents(n, seed)
        kept = [np.empty((0, *trained.medium.row.shape), trained.medium.row.dtype)]

        def rows_of(numbers: np.ndarray) -> np.ndarray:
            rows = trained.samples(z[numbers], None if y is None else y[numbers])
            if self.texts is not None:
                kept.append(rows)
            return rows

        seen = look_together(self.extractor, trained.medium, rows_of, n, self.ranks)
        mine = np.concatenate(kept)
        return seen, mine if self.texts is None else self.ranks.interleave(torch.from_numpy(mine), n).numpy()

    def _compared(self, n: int) -> int:
        """The number of generated samples, out of n, to compare with as many real ones."""
        return min(n, len(self.real.seen.h), N_PAIRS)

    def _compare(self, fake: Seen, labels: np.ndarray | None, memorises: bool = True) -> dict[str, float]:
        """All measures computed from the features; memorisation only if G could show it."""
        measures = self._distances(fake, labels)
        if self.extractor.classes:
            measures["is"] = fake.predictions.inception_score
        m = self._compared(len(fake.h))
        real = self.real.seen.h[:m]
        if m not in self._of_real:
            self._of_real[m] = smallest_distances(real, real, max(K_MANIFOLD, K_DENSITY) + 1)
        measures |= manifold_measures(real, fake.h[:m], of_real=self._of_real[m])
        if self.training is not None and memorises:
            measures["memorisation"] = self._memorisation(self.training.seen.h, fake.h)
        return measures

    def _distances(self, fake: Seen, labels: np.ndarray | None) -> dict[str, float]:
        """Fréchet and kernel distance; the first also per class, with the largest class distance."""
        name = self.extractor.distance
        found = {name: distance_of(self.moments, fake.moments)}
        kid = kernel_distance(self.real.seen.h, fake.h)
        found |= {"kid": kid.mean, "kid_se": kid.standard_error}
        if labels is not None:
            of_real, of_fake = (torch.from_numpy(each).to(self.ranks.device) for each in (self.real.labels, labels))
            by_class = {}
            for label in range(int(of_real.max()) + 1):
                real_h, fake_h = self.real.seen.h[of_real == label], fake.h[of_fake == label]
                if min(len(real_h), len(fake_h)) >= CLASS_MIN:
                    pair = (moments_of(h, self.extractor.parts) for h in (real_h, fake_h))
                    by_class[f"{name}/class-{label}"] = distance_of(*pair)
            found |= by_class
            if by_class:
                found[WORST_DISTANCE] = max(by_class.values())
        return found

    def _memorisation(self, training: Tensor, fake: Tensor) -> float:
        """1: as far from the training samples as new real ones are; 0: copies of training samples."""
        n = min(len(fake), len(self.real.seen.h), N_PAIRS)
        if n not in self._new:
            real = self.real.seen.h[:n]
            self._new[n] = novelty(real, training) if self.held_out else novelty_of_training(training, n)
        return novelty(fake[:n], training) / self._new[n] if self._new[n] else math.nan

    def _path_length(self, trained: Trained, y: Tensor | None, n: int, seed: int) -> float:
        mine = slice(self.ranks.rank, n, self.ranks.world_size)
        a, b = (ends[mine] for ends in trained.latents(2 * n, seed).chunk(2))
        t = torch.from_numpy(philox(seed, "evaluate/t").random((n, 1))[mine]).to(self.ranks.device)
        lengths = path_lengths(
            lambda z, condition: self.extractor.features(trained.G(z, condition).float()),
            a,
            b,
            t,
            None if y is None else y[:n][mine],
        )
        return sum(self.ranks.gather(float(lengths.sum()))) / n


def yardstick(config: RunConfig, extractor: Extractor, ranks: Ranks, data: str | None = None) -> Yardstick:
    """Extract features of the real samples of a run: those at `data`, `eval.data` or `data.path`.

    Raises:
        DataError: the samples cannot be read, do not fit the run, or are too few.
    """
    if extractor.net is not None:
        ranks.broadcast(extractor.net)
    path, key = (data, "--data") if data else (config.eval.data, "eval.data:")
    medium = medium_of(config)
    with dataset.told_as(key) if path else nullcontext():
        measured = dataset.with_images_at(config, path or config.data.path)
        real = real_features(measured, extractor, ranks)
        if len(real.labels) < N_MIN:
            raise DataError(
                f"data.path: {path or config.data.path}: {len(real.labels)} {medium.nouns[1]}; measures need at "
                f"least {N_MIN}"
            )
    told = medium.prepared, medium.nouns
    if isinstance(condition := condition_of(config), OfSample):
        examples = open_examples(measured, ranks.device)
        likeness = likeness_of(medium, condition, extractor.name, ranks.device)
        restoration = Restoration(examples, real, extractor, likeness, ranks)
        return Yardstick(extractor, ranks, real, None, *told, restoration=restoration, best_by=config.eval.best)
    training: RealFeatures | None = real
    if path is not None:
        try:
            training = real_features(dataset.with_images_at(config, config.data.path), extractor, ranks)
        except DataError as error:
            log.warning("memorisation is not measured: %s", error)
            training = None
    frames = medium.frames if isinstance(medium, Video) else 0
    texts = texts_of(config, measured, real, training)
    return Yardstick(extractor, ranks, real, training, *told, frames, best_by=config.eval.best, texts=texts)


def names_of_measures(config: RunConfig, extractor: str) -> list[str]:
    """Names of the measures of a run, with the extractor of this name, that may select its best checkpoint."""
    medium, condition = medium_of(config), condition_of(config)
    kind = kind_of(extractor, medium)
    names = [kind.distance, "kid", *(["is"] if kind.has_classes else ()), "precision", "recall", "density", "coverage"]
    if isinstance(medium, Text):
        return [*names, *told_by(config)]
    if not isinstance(condition, OfSample):
        return [*names, "memorisation", "ppl", *(["recognised"] if kind.learn and config.model.classes else ())]
    return [*names, *restored_by(extractor, condition, medium)]
