"""All measures of a generator against real images, with the protocol without which they say little."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.config import RunConfig
from gandist.errors import DataError
from gandist.quality.extractors import Extractor
from gandist.quality.features import AT_A_TIME, Reals, Seen, look, moments_of, real_features
from gandist.quality.kernel import kernel_distance
from gandist.quality.neighbours import K_DENSITY, K_MANIFOLD, manifold_measures, novelty, novelty_of_training
from gandist.quality.paths import EPSILON, path_length
from gandist.quality.statistics import Moments, distance_of
from gandist.randomness import philox
from gandist.trained import Trained

log = logging.getLogger("gandist")

N_MIN = 2 * (K_DENSITY + 1)
"""Images that there must be of either kind: two halves, each with neighbours."""
N_PAIRS = 10_000
"""Images whose distances to others are taken, at most: between all pairs of more, time would grow as their square."""
N_PATHS = 1000
"""Paths of latents whose length is taken."""
CLASS_MIN = 50
"""Images of a class that its distance is computed from: of fewer it says more of the draw than of the class."""


class Result(NamedTuple):
    """What a generator is worth."""

    measures: dict[str, float]
    images_seen: int
    protocol: dict[str, Any]


@dataclass
class Yardstick:
    """An extractor and the real images as it sees them: any number of checkpoints is measured against them."""

    extractor: Extractor
    device: torch.device
    real: Reals
    training: Reals | None
    """The images that the generator was trained on; None where they cannot be read."""
    resolution: int
    moments: Moments = field(init=False)
    floor: float = field(init=False)
    """The Fréchet distance of one half of the real images to the other."""

    def __post_init__(self) -> None:
        halves = [moments_of(half) for half in self.real.seen.h.chunk(2)]
        self.moments, self.floor = halves[0] + halves[1], distance_of(*halves)

    @property
    def held_out(self) -> bool:
        """Whether the real images are others than those that the generator was trained on."""
        return self.training is not None and self.training.fingerprint != self.real.fingerprint

    def evaluate(self, trained: Trained, n: int, seed: int = 0) -> Result:
        """Measure n images of a generator; the same seed gives the same values.

        Memory and time grow linearly in n.
        """
        start = time.perf_counter()
        y = self._conditions(trained.config, n, seed)
        fake = self._look(trained, y, n, seed)
        looked = time.perf_counter()
        measures = self._distances(fake, y if trained.config.model.classes else None)
        measures["is"] = fake.predictions.inception_score
        m = min(n, len(self.real.seen.h), N_PAIRS)
        measures |= manifold_measures(self.real.seen.h[:m], fake.h[:m])
        if self.training is not None:
            measures["memorisation"] = self._memorisation(self.training.seen.h, fake.h)
        n_paths = min(n, N_PATHS)
        measures["ppl"] = self._path_length(trained, y, n_paths, seed)
        protocol = {
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256,
            "n_real": len(self.real.seen.h),
            "n_fake": n,
            "resize": f"real images cropped to {self.resolution} px as in training, then {self.extractor.resize}",
            "floor": self.floor,
            "floor_is": f"{self.extractor.distance} of one half of the real images to the other",
            "real_fingerprint": self.real.fingerprint,
            "manifold": {"n": m, "k_precision_recall": K_MANIFOLD, "k_density_coverage": K_DENSITY},
            "memorisation_is": "nearest training image of generated ones, over that of "
            + ("held out images" if self.held_out else "training images to one another")
            + " (medians)",
            "ppl": {"n": n_paths, "epsilon": EPSILON, "distance": "squared Euclidean, of features"},
            "seed": seed,
            "device": self.device.type,
            "seconds": round(time.perf_counter() - start, 3),
            "seconds_looking": round(looked - start, 3),
        }
        return Result(measures, trained.images_seen, protocol)

    def _conditions(self, config: RunConfig, n: int, seed: int) -> Tensor | None:
        """Drawn from those of the real images, so that their classes come as often."""
        if not (config.model.classes or config.model.text_dim):
            return None
        there = self.real.conditions
        return torch.from_numpy(there[philox(seed, "evaluate/y").integers(len(there), size=n)]).to(self.device)

    def _look(self, trained: Trained, y: Tensor | None, n: int, seed: int) -> Seen:
        z = trained.latents(n, seed)

        def parts() -> Iterator[np.ndarray]:
            for at in range(0, n, AT_A_TIME):
                part = slice(at, at + AT_A_TIME)
                yield trained.images(z[part], None if y is None else y[part]).transpose(0, 2, 3, 1)

        return look(self.extractor, parts(), n, self.device)

    def _distances(self, fake: Seen, labels: Tensor | None) -> dict[str, float]:
        """Fréchet and kernel distance, and the first also class by class."""
        name = self.extractor.distance
        found = {name: distance_of(self.moments, fake.moments)}
        kid = kernel_distance(self.real.seen.h, fake.h)
        found |= {"kid": kid.mean, "kid_se": kid.standard_error}
        if labels is not None:
            of_real = torch.from_numpy(self.real.labels).to(self.device)
            for label in range(int(of_real.max()) + 1):
                real_h, fake_h = self.real.seen.h[of_real == label], fake.h[labels == label]
                if min(len(real_h), len(fake_h)) >= CLASS_MIN:
                    found[f"{name}/class-{label}"] = distance_of(moments_of(real_h), moments_of(fake_h))
        return found

    def _memorisation(self, training: Tensor, fake: Tensor) -> float:
        """1: as far from the training images as new real ones are; 0: copies of them."""
        n = min(len(fake), len(self.real.seen.h), N_PAIRS)
        new = novelty(self.real.seen.h[:n], training) if self.held_out else novelty_of_training(training, n)
        return novelty(fake[:n], training) / new if new else math.nan

    def _path_length(self, trained: Trained, y: Tensor | None, n: int, seed: int) -> float:
        a, b = trained.latents(2 * n, seed).chunk(2)
        t = torch.from_numpy(philox(seed, "evaluate/t").random((n, 1))).to(self.device)
        return path_length(
            lambda z, condition: self.extractor.features(trained.G(z, condition).float()),
            a,
            b,
            t,
            None if y is None else y[:n],
        )


def yardstick(config: RunConfig, extractor: Extractor, device: torch.device, data: str | None = None) -> Yardstick:
    """Look at the real images of a run, or at those of `data` instead.

    Raises:
        DataError: they cannot be read, do not go with the run, or are too few.
    """
    real = real_features(_of(config, data or config.data.path), extractor, device)
    if len(real.seen.h) < N_MIN:
        raise DataError(f"{data or config.data.path}: {len(real.seen.h)} images; measures need {N_MIN}")
    training: Reals | None = real
    if data is not None:
        try:
            training = real_features(_of(config, config.data.path), extractor, device)
        except DataError as error:
            log.warning("memorisation is not measured: %s", error)
            training = None
    return Yardstick(extractor, device, real, training, config.model.resolution)


def _of(config: RunConfig, path: str) -> RunConfig:
    """The configuration, but of the images at `path`, which need not fill a batch."""
    data, train = config.data.model_copy(update={"path": path}), config.train.model_copy(update={"batch": 1})
    return config.model_copy(update={"data": data, "train": train})
