"""Statistics that add up over parts or ranks, and the measures computed from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Moments:
    """Mean and covariance of features, accumulated in parts.

    Attributes:
        sums: (F + 1, F + 1) float64, the sum of (h, 1)(h, 1)^T over the features h: second moments, sums and count
            in one. Adding `sums` over parts, or over ranks (one all-reduce), gives the statistics of all.
    """

    def __init__(self, dim: int, device: torch.device | None = None) -> None:
        self.sums = torch.zeros(dim + 1, dim + 1, dtype=torch.float64, device=device)

    def add(self, h: Tensor) -> None:
        """Add features (N, F)."""
        h = torch.cat([h.double(), h.new_ones(len(h), 1, dtype=torch.float64)], dim=1)
        self.sums += h.T @ h

    def __add__(self, other: Moments) -> Moments:
        both = Moments(len(self.sums) - 1)
        both.sums = self.sums + other.sums
        return both

    @property
    def n(self) -> int:
        """Number of features added."""
        return int(self.sums[-1, -1])

    @property
    def mean(self) -> Tensor:
        """mu (F,)."""
        return self.sums[-1, :-1] / self.sums[-1, -1]

    @property
    def covariance(self) -> Tensor:
        """S (F, F), unbiased.

        Raises:
            ValueError: there are fewer than two features.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs two features, there are {self.n}")
        mu = self.mean
        return (self.sums[:-1, :-1] - self.n * torch.outer(mu, mu)) / (self.n - 1)


class Predictions:
    """Class probabilities p(y|x), accumulated in parts, for the Inception Score.

    Attributes:
        sums: (K + 2,) float64: the sums over the samples of p, of sum_y p log p, and of 1. They add up like those of
            `Moments`.
    """

    def __init__(self, classes: int, device: torch.device | None = None) -> None:
        self.sums = torch.zeros(classes + 2, dtype=torch.float64, device=device)

    def add(self, p: Tensor) -> None:
        """Add probabilities (N, K)."""
        p = p.double()
        self.sums += torch.cat([p.sum(0), torch.xlogy(p, p).sum()[None], p.new_tensor([len(p)])])

    def __add__(self, other: Predictions) -> Predictions:
        both = Predictions(len(self.sums) - 2)
        both.sums = self.sums + other.sums
        return both

    @property
    def inception_score(self) -> float:
        """exp(E_x KL(p(y|x) || p(y))), over all samples at once (Salimans et al. 2016, arXiv:1606.03498)."""
        sums, negative_entropy, n = self.sums[:-2], self.sums[-2], self.sums[-1]
        p = sums / n
        return float((negative_entropy / n - torch.xlogy(p, p).sum()).exp())


def frechet_distance(mu1: Tensor, S1: Tensor, mu2: Tensor, S2: Tensor) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

    The eigenvalues of S1 S2 are the squares of the singular values of S1^(1/2) S2^(1/2). The sum of these singular
    values is the trace of the root: it is real, and exact even if fewer samples than features make a covariance
    singular.

    Args:
        mu1, mu2: means (F,), float64.
        S1, S2: covariances (F, F), float64.

    Raises:
        numpy.linalg.LinAlgError: a covariance is not finite.
    """
    root_trace = torch.linalg.svdvals(_root(S1) @ _root(S2)).sum()
    return float((mu1 - mu2).square().sum() + S1.trace() + S2.trace() - 2 * root_trace)


def distance_of(a: Moments, b: Moments) -> float:
    """The Fréchet distance between two sets of features."""
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def _root(S: Tensor) -> Tensor:
    """The symmetric square root of a covariance; rounding may have made some eigenvalues slightly negative."""
    # NumPy's LAPACK: MKL's, which torch uses, does not converge on some singular covariances (rank 22 of 1280).
    values, vectors = (torch.from_numpy(each).to(S) for each in np.linalg.eigh(S.numpy(force=True)))
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
