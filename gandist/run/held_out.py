"""Samples that a trained generator was not trained on, with what it is given for them."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.data import dataset
from gandist.data.order import Order
from gandist.run.examples import Examples, open_examples
from gandist.run.trained import Trained


class HeldOut(NamedTuple):
    """What G is given, and what it should make of it."""

    numbers: np.ndarray
    """The samples' numbers (n,) in their set."""
    y: Tensor
    inputs: np.ndarray
    """y as rows of the medium (n, *row.shape)."""
    targets: np.ndarray
    """Rows of the medium, too."""


def held_out(trained: Trained, n: int) -> HeldOut:
    """At most n samples of `eval.data`, or of the training set if there is none; the same ones at each call.

    Raises:
        GandistError: the samples cannot be read.
    """
    assert isinstance(trained.condition, OfSample)
    examples, medium = _examples(trained), trained.medium
    numbers = np.sort(Order([examples.n], 0).take(0, min(n, examples.n)))
    x, y = examples.of(numbers)
    assert y is not None
    inputs = trained.condition.maker.picture(y, medium.network_shape)
    return HeldOut(numbers, y, *(medium.from_network(each).cpu().numpy() for each in (inputs, x)))


def _examples(trained: Trained) -> Examples:
    config = trained.config
    if config.eval.data is None:
        return open_examples(config, trained.device)
    with dataset.told_as("eval.data:"):
        return open_examples(dataset.with_images_at(config, config.eval.data), trained.device)
