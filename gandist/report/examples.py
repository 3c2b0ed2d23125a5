"""Examples of a run whose G is given samples: each input, the output of G beside it, and the target."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.config.methods import latents_of
from gandist.data import dataset
from gandist.data.order import Order
from gandist.media.gallery import CELL_PX
from gandist.media.medium import Preview
from gandist.run.examples import Examples, open_examples
from gandist.run.trained import Trained

SHOWN = 6
"""Examples on a page."""
VARIED, EACH = 4, 6
"""Inputs for which several outputs are drawn, and how many."""


class Example(NamedTuple):
    """One input with its output and target."""

    number: int
    """The sample's number in its set."""
    given: Preview
    output: Preview
    target: Preview
    small: bool
    """Whether the pictures are enlarged to be seen."""


class Given(NamedTuple):
    """What G is given, and what it should make of it."""

    numbers: np.ndarray
    y: Tensor
    inputs: np.ndarray
    """Rows of the medium, as are the targets."""
    targets: np.ndarray


def given(trained: Trained, n: int) -> Given:
    """At most n samples of `eval.data`, or of the training set if there is none; the same ones at each call.

    Raises:
        GandistError: the samples cannot be read.
    """
    assert isinstance(trained.condition, OfSample)
    examples, medium = _held_out(trained), trained.medium
    numbers = np.sort(Order([examples.n], 0).take(0, min(n, examples.n)))
    x, y = examples.of(numbers)
    assert y is not None
    inputs = trained.condition.maker.picture(y, medium.network_shape)
    return Given(numbers, y, *(medium.from_network(each).cpu().numpy() for each in (inputs, x)))


def _held_out(trained: Trained) -> Examples:
    config = trained.config
    if config.eval.data is None:
        return open_examples(config, trained.device)
    with dataset.told_as("eval.data:"):
        return open_examples(dataset.with_images_at(config, config.eval.data), trained.device)


def examples(trained: Trained) -> list[Example]:
    """The examples of a run.

    Raises:
        GandistError: the samples cannot be read.
    """
    shown = given(trained, SHOWN)
    outputs = trained.samples(trained.latents(len(shown.numbers)), shown.y)
    small = max(trained.medium.network_shape[1:]) <= CELL_PX
    kinds = (shown.inputs, outputs, shown.targets)
    previews = [[trained.medium.preview(row[None], 1) for row in rows] for rows in kinds]
    lines = zip(shown.numbers, *previews, strict=True)
    return [Example(int(number), first, output, target, small) for number, first, output, target in lines]


def several(trained: Trained) -> np.ndarray | None:
    """Rows of the medium, 2 + EACH for each input: the input, outputs of G for different latents, the target. None if
    G takes no latents.

    Raises:
        GandistError: the samples cannot be read.
    """
    if not latents_of(trained.config):
        return None
    shown = given(trained, VARIED)
    n = len(shown.numbers)
    outputs = trained.samples(trained.latents(n * EACH), torch.repeat_interleave(shown.y, EACH, 0))
    lines = zip(shown.inputs, outputs.reshape(n, EACH, *outputs.shape[1:]), shown.targets, strict=True)
    return np.concatenate([np.stack([first, *line, last]) for first, line, last in lines])
