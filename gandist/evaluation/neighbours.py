"""Neighbours among features: precision and recall, density and coverage, and memorisation of training samples.

Distances are computed block by block: memory grows linearly with the number of features.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 256
"""Rows per block of distances."""
K_MANIFOLD = 3
"""k of the nearest neighbours, for precision and recall."""
K_DENSITY = 5
"""k of the nearest neighbours, for density and coverage."""


def blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances from x (N, F), `BLOCK` rows at a time, to all of y (M, F): float64 (rows, M).

    In float32, rounding between blocks would change which of two distances is the larger.
    """
    y = y.double()
    squares = y.square().sum(1)
    for at in range(0, len(x), BLOCK):
        part = x[at : at + BLOCK].double()
        d2 = torch.addmm(squares, part, y.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        yield d2.clamp_(min=0).sqrt_()


def smallest_distances(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Distances from each of x (N, F) to its k nearest of y (M, F), ascending: (N, k). If x is y, the first is 0."""
    return torch.cat([d.topk(k, largest=False).values for d in blocks(x, y)])


def manifold_measures(
    real: Tensor,
    fake: Tensor,
    k_manifold: int = K_MANIFOLD,
    k_density: int = K_DENSITY,
    of_real: Tensor | None = None,
) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 2), density and coverage (Naeem et al.
    2020, arXiv:2002.09797, eq. 3 and 4).

    Args:
        real, fake: features (N, F) and (M, F), of equal number if recall must be comparable.
        of_real: `smallest_distances(real, real, max(k) + 1)`, if known.

    Raises:
        ValueError: one of the sets has k features or fewer.
    """
    k = max(k_manifold, k_density)
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"need more than {k} features, there are {len(real)} and {len(fake)}")
    of_real = smallest_distances(real, real, k + 1) if of_real is None else of_real
    radii, radii_density = of_real[:, k_manifold], of_real[:, k_density]
    radii_fake = smallest_distances(fake, fake, k_manifold + 1)[:, k_manifold]
    precise = inside = 0
    nearest = torch.full_like(radii, torch.inf)
    recalled = torch.zeros_like(radii, dtype=torch.bool)
    for at, d in zip(range(0, len(fake), BLOCK), blocks(fake, real), strict=True):
        precise += int((d <= radii).any(1).sum())
        inside += int((d <= radii_density).sum())
        nearest = torch.minimum(nearest, d.min(0).values)
        recalled |= (d <= radii_fake[at : at + BLOCK, None]).any(0)
    return {
        "precision": precise / len(fake),
        "recall": float(recalled.double().mean()),
        "density": inside / (k_density * len(fake)),
        "coverage": float((nearest <= radii_density).double().mean()),
    }


def novelty(x: Tensor, training: Tensor) -> float:
    """Median distance from features (N, F) to the nearest training features (M, F)."""
    return float(smallest_distances(x, training, 1).median())


def novelty_of_training(training: Tensor, n: int) -> float:
    """The same from the first n training samples to the others, which estimates the value for held-out samples."""
    return float(smallest_distances(training[:n], training, 2)[:, 1].median())
