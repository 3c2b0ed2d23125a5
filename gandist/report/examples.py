"""Examples of a run whose G is given samples: each input, the output of G beside it, and the target."""

from typing import NamedTuple

import numpy as np
import torch

from gandist.config.methods import latents_of
from gandist.media.gallery import CELL_PX
from gandist.media.medium import Preview
from gandist.run.held_out import held_out
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


def examples(trained: Trained) -> list[Example]:
    """The examples of a run.

    Raises:
        GandistError: the samples cannot be read.
    """
    shown = held_out(trained, SHOWN)
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
    shown = held_out(trained, VARIED)
    n = len(shown.numbers)
    outputs = trained.samples(trained.latents(n * EACH), torch.repeat_interleave(shown.y, EACH, 0))
    lines = zip(shown.inputs, outputs.reshape(n, EACH, *outputs.shape[1:]), shown.targets, strict=True)
    return np.concatenate([np.stack([first, *line, last]) for first, line, last in lines])
