"""Measures of neighbours against their definitions, spelt out; blocks of any size; no memory for all pairs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gandist.evaluation import neighbours
from gandist.evaluation.neighbours import (
    blocks,
    manifold_measures,
    novelty,
    novelty_of_training,
    smallest_distances,
)
from tests.unit.evaluation.test_statistics import features

Points = list[list[float]]


def brute_force(real: Points, fake: Points, k: int, k_density: int) -> dict[str, float]:
    """The papers' definitions, one pair after the other."""

    def radius(points: Points, i: int, k: int) -> float:
        return sorted(math.dist(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    def share(points: Points, others: Points) -> float:
        radii = [radius(others, i, k) for i in range(len(others))]
        inside = [any(math.dist(p, q) <= r for q, r in zip(others, radii, strict=True)) for p in points]
        return sum(inside) / len(points)

    balls = [(p, radius(real, i, k_density)) for i, p in enumerate(real)]
    return {
        "precision": share(fake, real),
        "recall": share(real, fake),
        "density": sum(math.dist(p, q) <= r for p, r in balls for q in fake) / (k_density * len(fake)),
        "coverage": sum(any(math.dist(p, q) <= r for q in fake) for p, r in balls) / len(real),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "m"), [(40, 40), (50, 23)])
def test_exactly_the_definitions(seed: int, n: int, m: int) -> None:
    real, fake = features(n, 3, seed), features(m, 3, seed) * 0.7 + 0.8
    expected = brute_force(real.tolist(), fake.tolist(), 3, 5)
    assert manifold_measures(real, fake) == expected
    assert 0 < expected["recall"] < 1, "a case that tells"
    assert manifold_measures(real, fake, 2, 1) == brute_force(real.tolist(), fake.tolist(), 2, 1)


def test_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = features(70, 5, 0).float(), features(60, 5, 0).float() * 1.2
    whole = manifold_measures(real, fake)
    for rows in (1, 7, 70):
        monkeypatch.setattr(neighbours, "BLOCK", rows)
        assert manifold_measures(real, fake) == whole


def test_distances() -> None:
    x, y = features(20, 6, 0), features(15, 6, 1)
    torch.testing.assert_close(torch.cat(list(blocks(x, y))), torch.cdist(x, y))
    torch.testing.assert_close(smallest_distances(x, y, 4), torch.cdist(x, y).sort(1).values[:, :4])


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_memory_grows_with_the_number_of_images_not_with_its_square() -> None:
    made = []
    for n in (1024, 2048):
        with Largest() as largest:  # type: ignore[no-untyped-call]
            manifold_measures(features(n, 2, 0), features(n, 2, 1))
        made.append(largest.numbers)
    assert made == [neighbours.BLOCK * 1024, neighbours.BLOCK * 2048]


def test_copies_are_no_news() -> None:
    training = features(80, 6, 0).float()
    held_out = features(160, 6, 0).float()[80:]
    assert novelty(training[:30], training) < 1e-6
    assert novelty(training[:30] + 1e-3, training) < 0.01
    assert novelty(held_out, training) == pytest.approx(novelty_of_training(training, 80), rel=0.2)
    expected = torch.cdist(training, training).fill_diagonal_(torch.inf).min(1).values[:30].median()
    assert novelty_of_training(training, 30) == pytest.approx(float(expected), rel=1e-5)


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 5 features, there are 9 and 5"):
        manifold_measures(features(9, 2, 0), features(5, 2, 1))
