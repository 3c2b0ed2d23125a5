"""Measures by name: samples -> scores, with the scores of real samples and the protocol."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.data import dataset
from gandist.distributed.ranks import Ranks
from gandist.errors import ConfigError
from gandist.evaluation.classifier import classifier_of
from gandist.evaluation.extractors import of_classifier
from gandist.evaluation.features import look_together
from gandist.evaluation.modes import covered, kl_from_uniform, mode_counts
from gandist.evaluation.statistics import Moments, distance_of
from gandist.gan.networks.classifier import RESOLUTION, Facts

STACKED = "builtin:stacked-fashion"


class Measure(NamedTuple):
    """A scoring function, with the scores of real samples."""

    scores: Callable[[np.ndarray], dict[str, float]]
    """uint8 (n, R, R, C) -> scores by name."""
    real: dict[str, float]
    """The same scores of real samples: those of a perfect generator."""
    protocol: dict[str, Any]


def mode_coverage(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Number of covered modes of `builtin:stacked-fashion`, and the KL divergence from the uniform distribution over
    modes.

    Raises:
        ConfigError: the run uses other images.
    """
    if (config.data.path, config.data.channels) != (STACKED, 3):
        raise ConfigError(f"measures: modes are those of data.path={STACKED} with data.channels=3; set both")
    grey = config.data.model_copy(update={"path": "builtin:fashion-10k", "channels": 1})
    classifier, facts = classifier_of(grey, config.model.resolution)
    classifier.to(device)

    def scores(images: np.ndarray) -> dict[str, float]:
        counts = mode_counts(images, classifier, device)
        return {"modes": covered(counts), "KL": kl_from_uniform(counts)}

    index = dataset.open_index(config)
    n_real = min(n_samples, index.n)
    real, _ = dataset.open_set(config, index).gather(dataset.order_of(config, index).take(0, n_real))
    protocol = {**_extractor(grey.path, facts, config.model.resolution), "n_real": n_real, "n_fake": n_samples}
    return Measure(scores, scores(real), {**protocol, "real": "the training images"})


def classifier_distance(config: RunConfig, n_samples: int, device: torch.device) -> Measure:
    """Fréchet distance between a classifier's features of the real set, on which it is trained, and of generated
    images."""
    classifier, facts = classifier_of(config.data, config.model.resolution)
    extractor, alone = of_classifier(classifier, facts, config.data.channels, device), Ranks(0, 1, device)
    index = dataset.open_index(config)
    images, order = dataset.open_set(config, index), dataset.order_of(config, index).take(0, index.n)

    def moments_of(images_of: Callable[[np.ndarray], np.ndarray], n: int) -> Moments:
        return look_together(extractor, medium_of(config), images_of, n, alone).moments

    def reals(half: np.ndarray) -> Moments:
        return moments_of(lambda at: images.gather(half[at])[0], len(half))

    halves = [reals(half) for half in np.array_split(order, 2)]
    real = halves[0] + halves[1]

    def scores(fakes: np.ndarray) -> dict[str, float]:
        return {extractor.distance: distance_of(real, moments_of(lambda at: fakes[at], len(fakes)))}

    protocol = {**_extractor(config.data.path, facts, config.model.resolution), "n_real": index.n, "n_fake": n_samples}
    return Measure(
        scores, {extractor.distance: distance_of(*halves)}, {**protocol, "real": "one half against the other"}
    )


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
}
