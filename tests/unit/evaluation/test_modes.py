"""Modes counted on images whose classes are known, and the distance from uniform by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.evaluation.modes import covered, kl_from_uniform, mode_counts
from gandist.gan.networks.classifier import Classifier

CPU = torch.device("cpu")


class ByBrightness(Classifier):
    """Tells class k = 0, 1, 2 by grey value 100 k."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1
        value = (x.mean((1, 2, 3)) + 1) * 127.5
        return -(value[:, None] - torch.tensor([0.0, 100.0, 200.0])).abs()


def test_a_mode_is_the_classes_of_the_three_channels() -> None:
    classes = np.array([[0, 0, 0], [2, 0, 1], [2, 0, 1], [1, 2, 2]])
    images = np.broadcast_to((classes * 100).astype(np.uint8)[:, None, None, :], (4, 32, 32, 3))
    counts = mode_counts(images, ByBrightness(1, 3), CPU)
    assert counts.shape == (27,)
    assert {int(mode): int(counts[mode]) for mode in np.flatnonzero(counts)} == {0: 1, 9 * 2 + 1: 2, 9 + 3 * 2 + 2: 1}
    assert covered(counts) == 3


def test_kl_from_uniform() -> None:
    assert kl_from_uniform(np.full(1000, 26)) == pytest.approx(0, abs=1e-12)
    one = np.zeros(1000, dtype=np.int64)
    one[7] = 500
    assert kl_from_uniform(one) == pytest.approx(math.log(1000))
    assert kl_from_uniform(np.array([3, 1, 0, 0])) == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1))


def test_the_bias_of_counting() -> None:
    """What 26,000 images of a perfect generator score: (modes - 1) / (2 n)."""
    counts = np.bincount(np.random.default_rng(0).integers(1000, size=26_000), minlength=1000)
    assert kl_from_uniform(counts) == pytest.approx(999 / 52_000, rel=0.15)
