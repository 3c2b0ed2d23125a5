"""A file's projection to a latent: one that G drew itself comes back."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.errors import ConfigError, DataError
from gandist.explore.drawing import Explorer, Model, Recipe, Wanted
from gandist.explore.likeness import likeness_of
from gandist.explore.projection import BATCHES, Projection, begin, descend
from gandist.media.audio import Audio
from gandist.media.image import Image
from gandist.media.medium import Medium
from gandist.media.text import Text
from gandist.media.video import Video
from tests.helpers.text_games import TEXTS
from tests.unit.explore.conftest import untrained

FALLS = 5
"""The loss falls to a fifth of that of the best of the random latents, at least."""


def now(work: Callable[[], None]) -> None:
    work()


def test_a_picture_that_G_drew_comes_back(tmp_path: Path) -> None:
    trained = untrained(tmp_path, model__name="mlp", model__z_dim=8)
    target = trained.medium.to_network(torch.from_numpy(trained.draw(1, seed=3)))
    likeness = likeness_of(trained.medium, trained.device)
    tried: list[int] = []
    assert begin(trained, likeness, target, Recipe(), now, lambda number: number < 3) is None

    def goes_on(number: int) -> bool:
        tried.append(number)
        return True

    descent = begin(trained, likeness, target, Recipe(), now, goes_on)
    assert tried == [*range(BATCHES)]
    assert descent is not None
    descend(trained, likeness, target, descent, now, lambda number: True, steps=60)
    assert descent.loss < descent.random / FALLS
    assert float(descent.best.square().mean()) < 4


def test_one_may_stop_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    trained = untrained(tmp_path, model__name="mlp", model__z_dim=8, model__classes=3)
    with Explorer([Model("a", trained)]) as explorer:
        file = explorer.file(Wanted(a=Recipe(seed=1)))
        with pytest.raises(DataError, match="not a whole png"):
            Projection(explorer, file[:-40], Recipe())
        projection = Projection(explorer, file, Recipe(label=2))
        projection.cancel()
        facts = projection.facts()
        assert (facts["status"], "recipe" in facts) == ("cancelled", False)
        projection = Projection(explorer, file, Recipe(label=2))
        while "recipe" not in projection.facts():
            time.sleep(0.01)
        projection.cancel()
        facts = projection.facts()
        assert BATCHES <= facts["step"] <= facts["steps"]
        assert facts["recipe"]["label"] == 2
        assert explorer.draw(Wanted(a=Recipe.model_validate(facts["recipe"])))["condition"]


def test_drawn_symbols_have_no_gradient(tmp_path: Path) -> None:
    trained = untrained(tmp_path, **TEXTS["likely"])
    target = trained.medium.to_network(torch.from_numpy(trained.draw(1)))
    with pytest.raises(ConfigError, match="draws symbols"):
        begin(trained, likeness_of(trained.medium, trained.device), target, Recipe(), now, lambda number: True)


@pytest.mark.parametrize(
    "medium",
    [
        Image(resolution=32, channels=3),
        Audio(sample_rate=8000, samples=2048),
        Video(resolution=32, frames=6),
        Text(length=8, symbols="abc"),
    ],
    ids=lambda medium: type(medium).__name__,
)
def test_what_is_more_alike_has_less_loss(medium: Medium) -> None:
    likeness = likeness_of(medium, torch.device("cpu"))
    random = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *medium.network_shape), np.float32))
    if isinstance(medium, Text):
        a, b = random.softmax(1).chunk(2)
        wanted = torch.nn.functional.one_hot(a.argmax(1), a.shape[1]).mT.float()
        steps = [wanted, 0.5 * wanted + 0.5 * a, b]
    else:
        wanted, b = random.mul(0.3).tanh().chunk(2)
        steps = [wanted, 0.8 * wanted + 0.2 * b, b]
    losses = likeness.loss(torch.cat(steps), wanted)
    assert losses.shape == (3,)
    assert losses[0] < 1e-4 < losses[1] < losses[2]
