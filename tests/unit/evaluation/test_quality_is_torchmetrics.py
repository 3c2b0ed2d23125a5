"""FID, KID and Inception Score equal those of torchmetrics on the same features."""

import pytest
import torch
from torch import Tensor, nn

from gandist.evaluation.features import moments_of
from gandist.evaluation.kernel import mmd2
from gandist.evaluation.statistics import Predictions, distance_of
from tests.unit.evaluation.test_statistics import features

TOLERANCE = 1e-4
pytestmark = [
    pytest.mark.filterwarnings("ignore:Metric `.*` will save all extracted features:UserWarning"),
    pytest.mark.filterwarnings("ignore:std.*degrees of freedom is <= 0:UserWarning"),  # of one subset, or split
]


class AsTheyAre(nn.Module):
    """Features in the place of images."""

    num_features = 24

    def forward(self, h: Tensor) -> Tensor:
        return h


@pytest.fixture(params=[0, 1], ids=["apart", "near"])
def two(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    real = features(400, 24, 0)
    return real, features(300, 24, 1) if request.param == 0 else features(300, 24, 0) * 1.1 + 0.1


@pytest.mark.slow
def test_fid(two: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    oracle = FrechetInceptionDistance(AsTheyAre()).set_dtype(torch.float64)
    for h, real in zip(two, (True, False), strict=True):
        for part in h.chunk(5):
            oracle.update(part, real=real)
    assert distance_of(*map(moments_of, two)) == pytest.approx(float(oracle.compute()), rel=TOLERANCE)


def test_kid_of_one_subset(two: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = (h[:300] for h in two)
    oracle = KernelInceptionDistance(AsTheyAre(), subsets=1, subset_size=300)
    oracle.update(x, real=True)
    oracle.update(y, real=False)
    expected, _ = oracle.compute()
    assert float(mmd2(x, y)) == pytest.approx(float(expected), rel=TOLERANCE)


def test_inception_score_of_one_split() -> None:
    from torchmetrics.image.inception import InceptionScore

    logits = features(500, 24, 2)
    oracle = InceptionScore(AsTheyAre(), splits=1)
    oracle.update(logits)
    expected, _ = oracle.compute()
    predictions = Predictions(24)
    for part in logits.chunk(9):
        predictions.add(part.softmax(1))
    assert predictions.inception_score == pytest.approx(float(expected), rel=TOLERANCE)
