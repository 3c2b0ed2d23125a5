"""Whether samples of a class are recognised as such, by an extractor that knows the classes of the run's set."""

import numpy as np
import torch
from torch import Tensor

from gandist.evaluation.extractor import Extractor, Recogniser
from gandist.evaluation.features import RealFeatures


def known(extractor: Extractor, real: RealFeatures) -> Recogniser | None:
    """The extractor's recogniser, if its classes are as many as those of the real samples, all of which have one."""
    recogniser, labels = extractor.recogniser, real.labels
    fits = recogniser is not None and labels.min(initial=0) >= 0 and labels.max(initial=-1) + 1 == recogniser.classes
    return recogniser if fits else None


@torch.no_grad()
def share_recognised(recogniser: Recogniser, h: Tensor, labels: np.ndarray) -> float:
    """The share of samples, with features h (n, F), found to be of their class (n,)."""
    return float((recogniser.classes_of(h).cpu() == torch.from_numpy(labels)).double().mean())


def chance(labels: np.ndarray) -> float:
    """The share that a generator has that draws each class (n,) as often, and ignores the class that it is given."""
    shares = np.bincount(labels) / len(labels)
    return float((shares**2).sum())
