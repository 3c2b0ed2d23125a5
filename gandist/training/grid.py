"""The run's grid of samples: the same latents and conditions at every drawing."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.data.order import Order
from gandist.media.medium import Medium, Preview
from gandist.run.examples import Examples
from gandist.training.inputs import Inputs

ROWS = COLUMNS = 10
TRIPLES = 3
"""Triples input, output and target in a line."""


class Grid(NamedTuple):
    """Latents and conditions of the samples of a grid, one condition per row; or inputs with their targets."""

    z: Tensor
    y: Tensor | None
    columns: int
    beside: tuple[np.ndarray, np.ndarray] | None = None
    """Rows of the inputs and of the targets, to show beside each sample."""

    def preview(self, medium: Medium, rows: np.ndarray) -> Preview:
        """G's samples, as rows of the medium; between their inputs and targets if there are any."""
        if self.beside is None:
            return medium.preview(rows, self.columns)
        given, targets = self.beside
        triples = np.stack([given, rows, targets], axis=1).reshape(-1, *rows.shape[1:])
        sounds = [medium.heard(row[None]) for row in triples[: TRIPLES * 3]]
        heard = tuple(sound for sound in sounds if sound is not None)
        return medium.preview(triples, self.columns)._replace(sounds=heard)


def grid_of(inputs: Inputs, examples: Examples) -> Grid:
    """The grid of a run; `examples` are the samples that conditions are made of, if they are."""
    condition, medium = inputs.condition, inputs.medium
    if not isinstance(condition, OfSample):
        z, y = inputs.of_samples(inputs.sample_rows(ROWS), COLUMNS)
        return Grid(z, y, COLUMNS)
    n = min(ROWS * TRIPLES, examples.n)
    x, y = examples.of(np.sort(Order([examples.n], 0).take(0, n)))
    assert y is not None
    pictures = [condition.maker.picture(y, medium.network_shape), x]
    given, targets = (medium.from_network(each).cpu().numpy() for each in pictures)
    return Grid(inputs.fixed_latents("samples", n), y, 3 * TRIPLES, (given, targets))
