"""The kernel distance: unbiased, by hand, and with an error that is one."""

import numpy as np
import pytest
import torch

from gandist.evaluation.kernel import kernel_distance, mmd2
from tests.unit.evaluation.test_statistics import features


def test_mmd2_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    within, between = 1.0, (2**3 + 1 + 1 + 1) / 4
    assert float(mmd2(x, y)) == pytest.approx(within + 1.0 - 2 * between)


def test_unbiased_and_its_error_is_that_of_repetition() -> None:
    """Of one distribution: estimates scatter about 0 by as much as they say."""
    draws = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 400, 3, generator=draws) for _ in range(60)]
    estimates = [kernel_distance(x, y, size=40) for x, y in pairs]
    means, errors = np.array(estimates).T
    assert abs(means.mean()) < 3 * means.std() / np.sqrt(len(means))
    assert errors.mean() == pytest.approx(means.std(), rel=0.25)


def test_subsets_are_disjoint_and_all_taken() -> None:
    x, y = features(30, 4, 0), features(25, 4, 1)
    found = kernel_distance(x, y, size=10)
    parts = torch.stack([mmd2(x[at : at + 10], y[at : at + 10]) for at in (0, 10)])
    assert found.mean == pytest.approx(float(parts.mean()))
    assert found.standard_error == pytest.approx(float(parts.std() / 2**0.5))


def test_few_images_make_two_subsets() -> None:
    x, y = features(9, 4, 0), features(50, 4, 1)
    assert kernel_distance(x, y) == kernel_distance(x[:8], y[:8], size=4)
    with pytest.raises(ValueError, match="there are 3"):
        kernel_distance(x[:3], y)
