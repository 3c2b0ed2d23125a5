"""How clips move, beside numbers that follow from the definitions alone, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.evaluation.motion import consistency, measures_of_motion, moves_of, real_motion, width_of
from gandist.media.image import Image
from gandist.media.video import Video
from tests.helpers.squares import FRAMES, SIZE, square

GREY = Video(frames=FRAMES, resolution=SIZE, channels=1)
RGB = Video(frames=3, resolution=24, channels=3)


def squares(first: int, n: int = 24) -> np.ndarray:
    return np.stack([square(first + i, i % 2) for i in range(n)])


def moves(rows: np.ndarray, medium: Video = GREY) -> Tensor:
    return moves_of(medium, medium.to_network(torch.from_numpy(rows)))


def of_pairs(rows: np.ndarray) -> float:
    """Consistency of clips (n, F, R, R, C) uint8, pair by pair."""
    n, frames, size, _, channels = rows.shape
    fields = (rows / 127.5 - 1).reshape(n, frames, 8, size // 8, 8, size // 8, channels).mean((3, 5))
    numbered = list(itertools.product(range(n), range(frames)))
    of_one: list[float] = []
    of_two: list[float] = []
    for (i, s), (j, t) in itertools.combinations(numbered, 2):
        (of_one if i == j else of_two).append(((fields[i, s] - fields[j, t]) ** 2).sum())
    return float(1 - np.mean(of_one) / np.mean(of_two))


@pytest.mark.parametrize("medium", [GREY, RGB])
def test_moves_are_by_definition(medium: Video) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (6, *medium.row.shape), np.uint8)
    found = moves(rows, medium)
    assert found.shape == (6, width_of(medium))
    x = rows / 127.5 - 1
    np.testing.assert_allclose(found[:, 0], np.abs(np.diff(x, axis=1)).mean((1, 2, 3, 4)), rtol=1e-5)
    assert consistency(found, medium.frames) == pytest.approx(of_pairs(rows), abs=1e-5)
    assert width_of(Image()) == 0
    assert moves_of(Image(), torch.zeros(5, 3, 8, 8)).shape == (5, 0)


def test_measures_are_by_definition() -> None:
    rows, others = squares(0), squares(500, 30)
    real = real_motion(moves(rows), FRAMES)
    ours, theirs = (np.abs(np.diff(each / 127.5 - 1, axis=1)).mean((1, 2, 3, 4)) for each in (others, rows))
    found = measures_of_motion(moves(others), real, FRAMES)
    assert found == {
        "motion": pytest.approx(ours.mean() / theirs.mean(), rel=1e-5),
        "motion_spread": pytest.approx(ours.std(ddof=1) / theirs.std(ddof=1), rel=1e-5),
        "consistency": pytest.approx(of_pairs(others), abs=1e-5),
        "frozen": 0.0,
    }
    assert 0.5 < found["motion"] < 2
    assert real.still_below == pytest.approx(0.1 * np.sort(theirs)[11], rel=1e-5)
    assert real.baseline == {
        "motion": 1.0,
        "motion_spread": 1.0,
        "consistency": pytest.approx(of_pairs(rows), abs=1e-5),
        "frozen": 0.0,
    }


def test_what_stands_still_and_what_does_not_stay() -> None:
    rows = squares(0, 40)
    real = real_motion(moves(rows), FRAMES)
    still = rows[:, :1].repeat(FRAMES, 1)
    half = np.concatenate([still[:20], rows[20:]])
    chance = np.random.default_rng(0)
    mixed = np.stack([chance.permutation(rows[:, t]) for t in range(FRAMES)], axis=1)
    found = {
        name: measures_of_motion(moves(each), real, FRAMES)
        for name, each in {"still": still, "half": half, "mixed": mixed}.items()
    }
    assert found["still"] == {"motion": 0.0, "motion_spread": 0.0, "consistency": 1.0, "frozen": 1.0}
    assert found["half"]["frozen"] == 0.5
    assert found["half"]["motion"] == pytest.approx(0.5, abs=0.15)
    assert abs(found["mixed"]["consistency"]) < 0.1 < real.consistency
    assert found["mixed"]["motion"] > 1.3


def test_a_tenth_of_the_usual_motion_is_the_limit() -> None:
    found = torch.zeros(5, width_of(GREY))
    found[:, 0] = torch.tensor([0.0099, 0.0101, 0.1, 0.2, 5.0])
    assert real_motion(found, FRAMES).frozen == 0.2


def test_real_clips_that_stand_still_are_no_measure() -> None:
    still = squares(0)[:, :1].repeat(FRAMES, 1)
    found = measures_of_motion(moves(squares(0)), real_motion(moves(still), FRAMES), FRAMES)
    assert math.isnan(found["motion"])
    assert math.isnan(found["motion_spread"])
    assert found["frozen"] == 0
    black = moves(np.zeros_like(still))
    assert math.isnan(measures_of_motion(black, real_motion(black, FRAMES), FRAMES)["consistency"])
