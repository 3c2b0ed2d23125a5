"""Measures of pairs are torchmetrics' and those counted by hand; means over a set do not depend on its parts."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gandist.distributed.ranks import Ranks
from gandist.errors import DataError
from gandist.evaluation.fidelity import PSNR_MAX, Sums, l1_within, psnr, ssim, ssim_within, variety
from gandist.gan.perceptual import Features, open_features
from tests.helpers.evaluate_on_ranks import write_means
from tests.helpers.forked import on_ranks

CPU = torch.device("cpu")
TOLERANCE = 1e-5


def smooth(n: int, channels: int, height: int, width: int, seed: int) -> Tensor:
    """Images in [-1, 1] with neighbours alike, flat regions of black and white included."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, 5, 5, generator=draws)
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear").mul(1.5).clamp(-1, 1)


@pytest.fixture(params=[(3, 32, 32), (1, 28, 28), (3, 11, 40)], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    channels, height, width = request.param
    a = smooth(4, channels, height, width, 0)
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(2))
    by = torch.tensor([0.0, 0.02, 0.2, 1.0]).view(-1, 1, 1, 1)
    return (a + by * noise).clamp(-1, 1), a


@pytest.mark.slow
def test_psnr_is_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b = (x[1:] for x in pair)
    expected = peak_signal_noise_ratio(a, b, data_range=2.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b), expected.double(), rtol=TOLERANCE, atol=0)
    in_bytes = [((x + 1) * 127.5).double() for x in (a, b)]
    error = (in_bytes[0] - in_bytes[1]).square().mean((1, 2, 3))
    torch.testing.assert_close(psnr(a, b), 10 * torch.log10(255**2 / error), rtol=TOLERANCE, atol=0)


def test_equal_images_have_a_finite_psnr() -> None:
    a = smooth(2, 3, 16, 16, 0)
    assert psnr(a, a).tolist() == [PSNR_MAX] * 2
    b = a.clone()
    b[0, 0, 0, 0] += 2 / 255
    assert float(psnr(a, b)[0]) == pytest.approx(20 * math.log10(255) + 10 * math.log10(3 * 16 * 16), abs=1e-3)
    assert float(psnr(-torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16))) == 0


def test_ssim_is_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair
    as_intensities = [(x.double() + 1) / 2 for x in pair]
    expected = structural_similarity_index_measure(*as_intensities, data_range=1.0, reduction="none")
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(ssim(a, b), expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ssim(b, a), expected, rtol=0, atol=TOLERANCE)
    assert ssim(a, b).tolist() == sorted(ssim(a, b).tolist(), reverse=True)
    assert float(ssim(a, a)[0]) == pytest.approx(1, abs=1e-12)


def test_within_a_hole(pair: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair
    mask = torch.zeros(4, 1, *a.shape[2:])
    for i in range(4):
        mask[i, :, i : i + 5, 3:9] = 1
    oracle = structural_similarity_index_measure(
        (a.double() + 1) / 2, (b.double() + 1) / 2, data_range=1.0, reduction="none", return_full_image=True
    )
    for i in range(4):
        hole = (slice(None), slice(i, i + 5), slice(3, 9))
        expected = (a[i].double()[hole] - b[i].double()[hole]).abs().mean()
        torch.testing.assert_close(l1_within(a, b, mask)[i], expected)
        torch.testing.assert_close(ssim_within(a, b, mask)[i], oracle[1][i][hole].mean(), rtol=0, atol=TOLERANCE)
    assert l1_within(a, b, mask.bool()).equal(l1_within(a, b, mask))
    outside = torch.where(mask.bool(), a, torch.zeros_like(a))
    assert l1_within(outside, b, mask).equal(l1_within(a, b, mask)), "what surrounds the hole does not count"
    everywhere = torch.ones_like(mask)
    torch.testing.assert_close(ssim_within(a, b, everywhere), ssim(a, b))


def test_what_cannot_be_measured_is_refused() -> None:
    a = smooth(2, 3, 16, 16, 0)
    with pytest.raises(DataError, match=r"window has 11 pixels, images 10 x 16"):
        ssim(a[:, :, :10], a[:, :, :10])
    mask = torch.ones(2, 1, 16, 16)
    mask[1] = 0
    for measure in (l1_within, ssim_within):
        with pytest.raises(DataError, match="a mask is 0 everywhere"):
            measure(a, a, mask)
        with pytest.raises(ValueError, match="no masks"):
            measure(a, a, mask[:1])
    for other in (a[:1], a[:, :1]):  # they would be broadcast
        for pairs in (psnr, ssim):
            with pytest.raises(ValueError, match="no pairs"):
                pairs(a, other)


def test_variety_is_none_where_z_changes_nothing() -> None:
    features: Features = open_features("classifier", CPU)
    a, b = smooth(3, 1, 28, 28, 0).requires_grad_(), smooth(3, 1, 28, 28, 1)
    b[0] = a[0].detach()
    found = variety(features, a, b)
    assert found.shape == (3,)
    assert not found.requires_grad
    assert float(found[0]) == 0
    assert bool((found[1:] > 0).all())


def test_means_do_not_depend_on_the_parts() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e-3 + 100
    whole, parts, others = Sums(), Sums(), Sums()
    whole.add("psnr", values)
    for part in values[:600].chunk(7):
        parts.add("psnr", part)
    others.add("psnr", values[600:])
    others.add("ssim", torch.tensor([0.25, 0.75]))
    others.add("none", torch.zeros(0))
    both = parts + others
    assert both.means["psnr"] == pytest.approx(float(values.double().mean()), rel=1e-12)
    assert whole.means["psnr"] == pytest.approx(both.means["psnr"], rel=1e-12)
    assert both.means["ssim"] == 0.5
    assert both.means.keys() == {"psnr", "ssim"}
    assert parts.means["psnr"] == pytest.approx(float(values[:600].double().mean()), rel=1e-12), "left alone"
    assert both.gathered(Ranks(0, 1, CPU)).means == both.means


def test_means_over_ranks(tmp_path: Path) -> None:
    on_ranks(2, tmp_path, write_means, tmp_path)
    found = [json.loads((tmp_path / f"means{rank}").read_text()) for rank in range(2)]
    assert found == [{"l1": 2.0, "psnr": 3.0}] * 2
