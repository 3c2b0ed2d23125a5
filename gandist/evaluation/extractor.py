"""The interface of what turns samples into features, and the facts about each kind of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gandist.config.run import RunConfig
from gandist.media.medium import Medium


class Recogniser(NamedTuple):
    """An extractor's classes, known to be those of a run's set."""

    classes_of: Callable[[Tensor], Tensor]
    """Features (N, F) -> the most likely class of each sample (N,)."""
    classes: int
    accuracy: float
    """Share of real samples, held out from its training, whose class it found."""


@dataclass(frozen=True)
class Extractor:
    """Computes features of samples (N, *network_shape) in [-1, 1]."""

    name: str
    dim: int
    """F, the number of features per sample, of all its parts."""
    classes: int
    """K, the number of classes; 0 for none."""
    resize: str
    """What becomes of samples on the way into the network, in words."""
    sha256: str
    """sha256 of the weights' file; empty if there are none."""
    features: Callable[[Tensor], Tensor]
    """Samples -> (N, F)."""
    probabilities: Callable[[Tensor, Tensor], Tensor]
    """Samples and their features -> class probabilities (N, K), or (N C, K) if the network sees each channel
    separately."""
    distance: str
    """Name of the Fréchet distance between its features."""
    net: nn.Module | None = None
    """The network, if each node trained its own: all ranks then take the main rank's."""
    recogniser: Recogniser | None = None
    parts: int = 1
    """Parts of a sample's features that are samples of the Fréchet distance, such as those of its frames."""


Opening = Callable[[Path | None, Medium, torch.device], Extractor]
"""Weights (None: those that are shipped), medium and device -> an extractor. A GandistError names what is missing, and
the fix."""


def no_classes(x: Tensor, h: Tensor) -> Tensor:
    """The probabilities of no classes: (N, 0)."""
    return h.new_zeros(len(h), 0)


class Kind(NamedTuple):
    """A kind of extractor, for one medium."""

    open: Opening
    distance: str
    """`Extractor.distance`."""
    has_classes: bool = True
    learn: Callable[[RunConfig], Path] | None = None
    """Makes weights from the run's own labelled set, if none are given."""
    unlearnt: str = ""
    """If it learns: the kind that needs no labels."""
