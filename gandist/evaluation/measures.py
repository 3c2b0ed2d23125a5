"""Measures by name: a generator's samples -> scores, with the scores of real samples and the protocol."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.data import dataset
from gandist.distributed.ranks import Ranks
from gandist.errors import ConfigError
from gandist.evaluation.classifier import classifier_of
from gandist.evaluation.evaluation import yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.extractors import kind_of, of_classifier
from gandist.evaluation.features import N_REAL, at_a_time, look_together
from gandist.evaluation.learning import batches
from gandist.evaluation.likeness import PERFECT, restored_by
from gandist.evaluation.modes import covered, kl_from_uniform, mode_counts
from gandist.evaluation.motion import measures_of_motion, moves_of, real_motion
from gandist.evaluation.statistics import Moments, distance_of
from gandist.gan.networks.classifier import RESOLUTION, Facts
from gandist.media.video import Video
from gandist.monitoring.metrics import TEXTS
from gandist.run.evaluations import BY, Evaluation, Result
from gandist.run.trained import Trained

STACKED = "builtin:stacked-fashion"


@dataclass(frozen=True, eq=False)
class Sampled:
    """A trained generator, and n samples of it by a seed."""

    trained: Trained
    n: int
    seed: int

    @cached_property
    def samples(self) -> np.ndarray:
        """Rows of the medium (n, *row.shape); drawn when first asked for."""
        return self.trained.draw(self.n, self.seed)


class Measure(NamedTuple):
    """A scoring function, with the scores of real samples."""

    scores: Callable[[Sampled], dict[str, float]]
    """A generator's scores by name."""
    real: dict[str, float | None]
    """The same scores of real samples: those of a perfect generator. None: they have no bound."""
    protocol: dict[str, Any]
    baselines: Mapping[str, dict[str, float]] = {}
    """Some of the same scores of what needs no learning, by its name; the best first."""
    groups: Callable[[Sampled], Evaluation] | None = None
    """A generator's measures within groups of samples: the keys `by_...` of an evaluation."""


def mode_coverage(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Number of covered modes of `builtin:stacked-fashion`, and the KL divergence from the uniform distribution over
    modes.

    Raises:
        ConfigError: the run uses other images.
    """
    if (config.data.path, config.data.channels) != (STACKED, 3):
        raise ConfigError(f"measures: modes are counted on data.path={STACKED} with data.channels=3; set both")
    grey = config.data.model_copy(update={"path": "builtin:fashion-10k", "channels": 1})
    classifier, facts = classifier_of(grey, config.model.resolution)
    classifier.to(device)

    def scores(images: np.ndarray) -> dict[str, float]:
        counts = mode_counts(images, classifier, device)
        return {"modes": covered(counts), "KL": kl_from_uniform(counts)}

    index = dataset.open_index(config)
    n_real = min(n_samples, index.n)
    real, _ = dataset.open_set(config, index, medium_of(config)).gather(dataset.order_of(config, index).take(0, n_real))
    protocol = {**_extractor(grey.path, facts, config.model.resolution), "n_real": n_real, "n_fake": n_samples}
    return Measure(
        lambda sampled: scores(sampled.samples), {**scores(real)}, {**protocol, "real": "the training images"}
    )


def classifier_distance(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Fréchet distance between a classifier's features of the real set, on which it is trained, and of generated
    samples."""
    extractor, said = _own_classifier(config, device)
    alone, index = Ranks(0, 1, device), dataset.open_index(config)
    images, order = dataset.open_set(config, index, medium_of(config)), dataset.order_of(config, index).take(0, index.n)

    def moments_of(images_of: Callable[[np.ndarray], np.ndarray], n: int) -> Moments:
        return look_together(extractor, medium_of(config), images_of, n, alone).moments

    def reals(half: np.ndarray) -> Moments:
        return moments_of(lambda at: images.gather(half[at])[0], len(half))

    halves = [reals(half) for half in np.array_split(order, 2)]
    real = halves[0] + halves[1]

    def scores(sampled: Sampled) -> dict[str, float]:
        fakes = sampled.samples
        return {extractor.distance: distance_of(real, moments_of(lambda at: fakes[at], len(fakes)))}

    protocol = {**said, "n_real": index.n, "n_fake": n_samples}
    return Measure(
        scores, {extractor.distance: distance_of(*halves)}, {**protocol, "real": "one half against the other"}
    )


def _own_classifier(config: RunConfig, device: torch.device) -> tuple[Extractor, dict[str, Any]]:
    """The classifier of the run's own set, with its protocol."""
    if kind_of("classifier", medium_of(config)).learn:
        extractor = extractor_of(config, device, name="classifier")
        assert extractor.recogniser is not None
        said = {"extractor": f"classifier of {config.data.path}", "accuracy": extractor.recogniser.accuracy}
        return extractor, {**said, "resize": extractor.resize}
    classifier, facts = classifier_of(config.data, config.model.resolution)
    said = _extractor(config.data.path, facts, config.model.resolution)
    return of_classifier(classifier, facts, config.data.channels, device), said


def motion(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """How generated clips move beside real ones, and what of them stays.

    Raises:
        ConfigError: the run makes no clips.
    """
    medium = medium_of(config)
    if not isinstance(medium, Video):
        raise ConfigError(f"measures: motion needs clips, and data.medium is {config.data.medium}; leave it out")
    index = dataset.open_index(config)
    clips, order = dataset.open_set(config, index, medium), dataset.order_of(config, index)
    at = order.take(0, min(index.n, N_REAL))
    of_real = real_motion(_moves(lambda part: clips.gather(at[part])[0], len(at), medium, device), medium.frames)

    def scores(sampled: Sampled) -> dict[str, float]:
        fakes = sampled.samples
        return measures_of_motion(_moves(lambda part: fakes[part], len(fakes), medium, device), of_real, medium.frames)

    protocol = {**of_real.protocol, "n_real": len(at), "n_fake": n_samples, "real": "the training clips"}
    return Measure(scores, {**of_real.baseline}, protocol)


@torch.no_grad()
def _moves(rows_of: Callable[[slice], np.ndarray], n: int, medium: Video, device: torch.device) -> Tensor:
    size = at_a_time(medium)
    parts = (rows_of(slice(at, at + size)) for at in range(0, n, size))
    return torch.cat([moves_of(medium, x) for part in parts for x in batches(part, medium, device, size)])


def restoration(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Outputs of a G that is given samples, beside their targets in `eval.data`: Fréchet distance; of pictures
    signal-to-noise ratio, structural similarity, perceptual distance, absolute difference; of sounds the distances of
    spectrograms, intelligibility; of what needs no learning, too.

    Raises:
        ConfigError: G of the run is given no samples.
        GandistError: the samples cannot be read, or the extractor is not available.
    """
    condition = condition_of(config)
    if not isinstance(condition, OfSample):
        raise ConfigError("measures: restoration compares outputs with targets; set condition.kind, or leave it out")
    extractor = extractor_of(config, device)
    against = yardstick(config, extractor, Ranks(0, 1, device))
    assert against.restoration is not None
    n = min(n_samples, len(against.real.numbers))
    names = [extractor.distance, *restored_by(extractor.name, condition, medium_of(config))]

    @lru_cache(maxsize=1)
    def evaluated(sampled: Sampled) -> Result:
        return against.evaluate(sampled.trained, n, sampled.seed)

    def scores(sampled: Sampled) -> dict[str, float]:
        found = evaluated(sampled).measures
        return {name: found[name] for name in names}

    def groups(sampled: Sampled) -> Evaluation:
        return {key: found for key, found in evaluated(sampled).plain().items() if key.startswith(BY)}

    baselines = {
        name: against.restoration.measures_of(floor, against.moments)
        for name, floor in against.restoration.floors(n).items()
    }
    perfect = PERFECT | {extractor.distance: against.floor}
    protocol = {
        "extractor": extractor.name,
        **{key: said for key, said in against.restoration.likeness.protocol.items() if not key.endswith("sha256")},
        "data": config.eval.data or config.data.path,
        "n_real": len(against.real.numbers),
        "n_fake": n,
        "real": "an output that is its target, and one half of the targets against the other",
    }
    return Measure(scores, {name: perfect.get(name, 0.0) for name in names}, protocol, baselines, groups)


def texts(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Generated texts beside those of `eval.data`, or of the training set: Fréchet distance, n-grams, novelty, BLEU,
    lengths; of a G that has it, the likelihood of the real ones.

    Raises:
        ConfigError: the run's samples are no texts.
        GandistError: the texts cannot be read, or the extractor is not available.
    """
    extractor = extractor_of(config, device)
    against = yardstick(config, extractor, Ranks(0, 1, device))
    if against.texts is None:
        raise ConfigError("measures: texts compares texts; set data.medium=text, or leave it out")

    def scores(sampled: Sampled) -> dict[str, float]:
        found = against.evaluate(sampled.trained, n_samples, sampled.seed).measures
        return {name: found[name] for name in real if math.isfinite(found.get(name, math.nan))}

    real: dict[str, float | None] = {extractor.distance: against.floor, **dict.fromkeys(TEXTS)}
    real |= against.texts.of_real(n_samples)
    told = against.texts.protocol(n_samples)
    protocol = {"extractor": extractor.name, "data": config.eval.data or config.data.path, "n_fake": n_samples, **told}
    return Measure(scores, real, protocol | {"n_real": len(against.real.numbers)})


def _extractor(path: str, facts: Facts, resolution: int) -> dict[str, Any]:
    return {
        "extractor": f"classifier of {path}",
        "accuracy": facts.accuracy,
        "n_test": facts.n_test,
        "resize": f"{resolution} px averaged to {RESOLUTION}" if resolution != RESOLUTION else "none",
    }


MEASURES: dict[str, Callable[[RunConfig, int, torch.device], Measure]] = {
    "modes": mode_coverage,
    "fd-classifier": classifier_distance,
    "motion": motion,
    "restoration": restoration,
    "texts": texts,
}
