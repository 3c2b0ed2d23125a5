"""Statistics of features against numpy's, the Fréchet distance against scipy's matrix root and by hand."""

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from gandist.evaluation.statistics import Moments, Predictions, frechet_distance


def features(n: int, dim: int, seed: int) -> Tensor:
    """Correlated features with a mean of their own."""
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=draws, dtype=torch.float64)
    shift = torch.randn(dim, generator=draws, dtype=torch.float64)
    return torch.randn(n, dim, generator=draws, dtype=torch.float64) @ mix + shift


def moments_of(h: Tensor) -> Moments:
    moments = Moments(h.shape[1])
    moments.add(h)
    return moments


def test_parts_add_up_to_the_whole() -> None:
    h = features(100, 5, 0)
    first, second = Moments(5), Moments(5)
    for at in range(0, 60, 7):
        first.add(h[at : min(at + 7, 60)])
    second.add(h[60:])
    both = first + second
    assert (first.n, second.n, both.n) == (60, 40, 100), "the addends are left alone"
    np.testing.assert_allclose(both.mean, h.mean(0), rtol=1e-12)
    np.testing.assert_allclose(both.covariance, np.cov(h.numpy(), rowvar=False), rtol=1e-10)


def test_float32_features_are_summed_in_float64() -> None:
    h = (features(2000, 3, 1) * 1e-3 + 100).float()
    np.testing.assert_allclose(moments_of(h).covariance, np.cov(h.double().numpy(), rowvar=False), rtol=0, atol=1e-10)


def test_a_covariance_needs_two_features() -> None:
    with pytest.raises(ValueError, match="two features, there are 1"):
        _ = moments_of(torch.ones(1, 3)).covariance


@pytest.mark.parametrize("dim", [1, 4, 32])
def test_frechet_distance_is_scipys(dim: int) -> None:
    a, b = moments_of(features(500, dim, 2)), moments_of(features(400, dim, 3))
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    trace = (a.covariance + b.covariance).trace() - 2 * np.trace(np.real(root))
    expected = (a.mean - b.mean).square().sum() + trace
    found = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert found == pytest.approx(float(expected), rel=1e-9)
    assert found == pytest.approx(frechet_distance(b.mean, b.covariance, a.mean, a.covariance), rel=1e-9)


def test_frechet_distance_by_hand() -> None:
    """Covariances that commute: the sum of (sqrt a - sqrt b)^2 over their eigenvalues."""
    mu, S1, S2 = torch.zeros(2).double(), torch.diag(torch.tensor([4.0, 9.0])), torch.diag(torch.tensor([1.0, 16.0]))
    found = frechet_distance(mu, S1.double(), torch.tensor([3.0, 4.0]).double(), S2.double())
    assert found == pytest.approx(25 + (2 - 1) ** 2 + (3 - 4) ** 2)


def test_fewer_images_than_features() -> None:
    """Singular covariances, where a matrix root fails or turns complex."""
    a, b = moments_of(features(20, 64, 4)), moments_of(features(20, 64, 5))
    assert frechet_distance(a.mean, a.covariance, a.mean, a.covariance) == pytest.approx(
        0, abs=1e-9 * float(a.covariance.trace())
    )
    # The trace of the root from the small side: S = X^T X / (n - 1), so its eigenvalues are those of a Gram matrix.
    x, y = ((h - h.mean(0)) / np.sqrt(19) for h in (features(20, 64, 4), features(20, 64, 5)))
    trace = a.covariance.trace() + b.covariance.trace() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    expected = float((a.mean - b.mean).square().sum() + trace)
    assert frechet_distance(a.mean, a.covariance, b.mean, b.covariance) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_sums_are_those_of_the_whole_in_whatever_parts_and_order(order: tuple[int, ...]) -> None:
    """As ranks add theirs up, whose shares are every third image or whatever else."""
    h = features(200, 6, 6)
    whole, predictions = moments_of(h), Predictions(6)
    predictions.add(h.softmax(1))
    for shares in (h.tensor_split([5, 80, 81]), [h[rank::4] for rank in range(4)]):
        moments, merged = Moments(6), Predictions(6)
        for part in order:
            share = Predictions(6)
            share.add(shares[part].softmax(1))
            moments, merged = moments + moments_of(shares[part]), merged + share
        torch.testing.assert_close(moments.sums, whole.sums, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(merged.sums, predictions.sums, rtol=1e-12, atol=1e-12)
        assert merged.inception_score == pytest.approx(predictions.inception_score, rel=1e-12)


def test_inception_score_by_hand() -> None:
    """K sure and even predictions: K. None sure: 1. Certainty is no NaN."""
    sure, unsure = Predictions(5), Predictions(5)
    sure.add(torch.eye(5).repeat(3, 1))
    unsure.add(torch.full((7, 5), 0.2))
    assert sure.inception_score == pytest.approx(5)
    assert unsure.inception_score == pytest.approx(1)
