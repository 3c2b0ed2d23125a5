"""The classifier of each medium: what trains one on rows and labels, and for how long."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import nn

from gandist.errors import ConfigError
from gandist.evaluation import clip_classifier, sound_classifier
from gandist.evaluation.classifier import train_classifier
from gandist.gan.networks import clip_classifier as clip_network
from gandist.gan.networks.classifier import RESOLUTION, Classifier
from gandist.gan.networks.sound_classifier import bands_of, frames_of
from gandist.media.audio import Audio
from gandist.media.image import Image
from gandist.media.medium import Medium
from gandist.media.video import Video


class Train(Protocol):
    def __call__(self, rows: np.ndarray, labels: np.ndarray, medium: Any, *, seed: int = 0, kimg: float) -> nn.Module:
        """A classifier of rows (n, *medium.row.shape) by labels (n,), with the medium's augmentation."""


class Learner(NamedTuple):
    train: Train
    kimg: float
    """Thousands of samples shown, unless told otherwise."""
    resize: Callable[[Any], str]
    """How the classifier sees samples of the medium, in words, for a protocol."""


def _train_images(rows: np.ndarray, labels: np.ndarray, medium: Image, *, seed: int = 0, kimg: float) -> Classifier:
    return train_classifier(rows, labels, seed=seed, kimg=kimg)


def _bands(medium: Audio) -> str:
    frames = frames_of(medium.sample_rate, medium.samples)
    return f"{len(bands_of(medium.sample_rate))} bands a semitone apart, in frames of {frames.n_fft} samples"


LEARNERS: dict[type[Medium], Learner] = {
    Image: Learner(_train_images, 50.0, lambda medium: f"{medium.resolution} px averaged to {RESOLUTION}"),
    Audio: Learner(sound_classifier.train, 20.0, _bands),
    Video: Learner(
        clip_classifier.train, 16.0, lambda medium: f"{medium.resolution} px averaged to {clip_network.RESOLUTION}"
    ),
}


def learner_of(medium: Medium) -> Learner:
    """The classifier of a medium.

    Raises:
        ConfigError: it has none.
    """
    found = next((learner for each, learner in LEARNERS.items() if isinstance(medium, each)), None)
    if found is None:
        there = ", ".join(each().nouns[1] for each in LEARNERS)
        raise ConfigError(f"gandist has no classifier of {medium.nouns[1]}; it has classifiers of {there}")
    return found
