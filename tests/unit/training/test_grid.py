"""The grid of a run whose condition is no sample by itself: what can be heard of it, beside output and target."""

from pathlib import Path

import numpy as np
import torch

from gandist.conditions.sample import OfSample
from gandist.config.methods import new_game, new_players
from gandist.data.dataset import open_index
from gandist.distributed.ranks import Ranks
from gandist.run.examples import open_examples
from gandist.training.grid import COLUMNS, ROWS, TRIPLES, grid_of
from gandist.training.inputs import Inputs
from tests.helpers.sound_games import SOUNDS
from tests.helpers.train_on_ranks import tiny


def test_spectrograms_are_shown_by_the_sound_that_fits_them(tmp_path: Path) -> None:
    config = tiny(tmp_path, "vocoding", **SOUNDS["vocoding"])
    ranks = Ranks(0, 1, torch.device("cpu"))
    game = new_game(config, new_players(config, ranks.device), ranks)
    inputs = Inputs(config, ranks, open_index(config).labels, game)
    examples = open_examples(config, ranks.device)
    grid = grid_of(inputs, examples)
    n = ROWS * TRIPLES
    assert grid.beside is not None
    given, targets = grid.beside
    assert given.shape == targets.shape == (n, 512, 1)
    assert given.dtype == targets.dtype == np.int16
    assert grid.columns == 3 * TRIPLES != COLUMNS
    # The sounds of the inputs have the spectrograms of their own targets, more nearly than of others
    assert isinstance(inputs.condition, OfSample)
    maker, medium = inputs.condition.maker, inputs.medium
    ours, theirs = (maker.make(medium.to_network(torch.from_numpy(rows)), {}).flatten(1) for rows in (given, targets))
    apart = torch.cdist(ours, theirs)
    assert int((apart.argmin(1) == torch.arange(n)).sum()) >= 0.9 * n
    assert grid.y is not None
    torch.testing.assert_close(grid.y, maker.make(medium.to_network(torch.from_numpy(targets)), {}), rtol=0, atol=1e-3)
    shown = grid.preview(medium, targets)
    assert len(shown.sounds) > 1
