"""The kernel distance between two sets of features (KID if the features are Inception's)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SUBSET = 1000


class Estimate(NamedTuple):
    """A mean over independent estimates, and its standard error."""

    mean: float
    standard_error: float


def kernel_distance(x: Tensor, y: Tensor, size: int = SUBSET) -> Estimate:
    """The squared maximum mean discrepancy (Binkowski et al. 2018, arXiv:1801.01401), over disjoint subsets.

    The subsets are disjoint, while the paper draws them anew: the standard error requires independent subsets. The
    estimate is unbiased for any subset size.

    Args:
        x, y: features (N, F) and (M, F), each in random order.
        size: features per subset; fewer if there would be less than two subsets.

    Raises:
        ValueError: one of the sets has fewer than four features.
    """
    n = min(len(x), len(y))
    if n < 4:
        raise ValueError(f"two subsets of two features need four, there are {n}")
    size = min(size, n // 2)
    found = torch.stack([mmd2(x[at : at + size], y[at : at + size]) for at in range(0, n - size + 1, size)])
    return Estimate(float(found.mean()), float(found.std()) / math.sqrt(len(found)))


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of MMD^2 between x (N, F) and y (M, F): a scalar, float64 (eq. 4 of the paper)."""
    x, y = x.double(), y.double()
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    n, m = len(x), len(y)
    within_x, within_y = (xx.sum() - xx.trace()) / (n * (n - 1)), (yy.sum() - yy.trace()) / (m * (m - 1))
    return within_x + within_y - 2 * xy.mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The polynomial kernel (x.y / F + 1)^3: (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3
