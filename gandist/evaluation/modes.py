"""Mode coverage on stacked sets, whose images hold an independent grey image in each colour channel.

The protocol is that of StackedMNIST (Metz et al. 2017, arXiv:1611.02163; Lin et al. 2018, PacGAN, arXiv:1712.04086):
a classifier of grey images finds the class of each channel; the three classes together are the mode.
"""

import math

import numpy as np
import torch

from gandist.evaluation.classifier import IMAGES
from gandist.evaluation.learning import classify
from gandist.gan.networks.classifier import Classifier


def mode_counts(images: np.ndarray, classifier: Classifier, device: torch.device) -> np.ndarray:
    """Number of images in each mode: uint8 (n, R, R, 3) -> int64 (classes^3,).

    The mode of classes r, g, b is number classes^2 r + classes g + b.
    """
    n, height, width, channels = images.shape
    grey = images.transpose(0, 3, 1, 2).reshape(n * channels, height, width, 1)
    classes = classifier.head.out_features
    modes = classify(classifier, grey, IMAGES, device).reshape(n, channels) @ classes ** np.arange(channels)[::-1]
    return np.bincount(modes, minlength=classes**channels)


def covered(counts: np.ndarray) -> int:
    """Number of modes with at least one image."""
    return int((counts > 0).sum())


def kl_from_uniform(counts: np.ndarray) -> float:
    """KL(p || uniform) in nats, where `counts` are drawn from p. A single mode gives log(number of modes).

    Finite samples add about (modes - 1) / (2 n): n images of a uniform p give this value.
    """
    p = counts[counts > 0] / counts.sum()
    return math.log(len(counts)) + float((p * np.log(p)).sum())
