"""Neighbours among features: precision and recall, density and coverage, and whether training images are repeated.

Distances are computed block by block: memory grows with the number of features, never with its square.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 256
"""Rows of a block of distances."""
K_MANIFOLD = 3
"""Neighbours that a manifold reaches to, for precision and recall."""
K_DENSITY = 5
"""The same for density and coverage."""


def blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances from x (N, F), `BLOCK` rows at a time, to all of y (M, F): float64 (rows, M).

    In float32 the same distance would differ between blocks by enough to change which one is the larger.
    """
    y = y.double()
    squares = y.square().sum(1)
    for at in range(0, len(x), BLOCK):
        part = x[at : at + BLOCK].double()
        d2 = torch.addmm(squares, part, y.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        yield d2.clamp_(min=0).sqrt_()


def smallest_distances(x: Tensor, y: Tensor, k: int) -> Tensor:
    """From each of x (N, F) to the k nearest of y (M, F), ascending: (N, k). Where x is y, the first is to itself."""
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
        real, fake: features (N, F) and (M, F), as many of both if recall is to be comparable.
        of_real: `smallest_distances(real, real, max(k) + 1)`, where it is known.

    Raises:
        ValueError: no more than k features in one of the sets.
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
    """Median distance of features (N, F) to the nearest training image's (M, F)."""
    return float(smallest_distances(x, training, 1).median())


def novelty_of_training(training: Tensor, n: int) -> float:
    """The same of the first n training images to the others, which is that of images held out."""
    return float(smallest_distances(training[:n], training, 2)[:, 1].median())
