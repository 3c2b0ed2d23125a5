"""Floors against closed forms and scipy's solver."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.conditions.degraded import Degradation
from gandist.conditions.floors import diffused, mean_colour, upscaled
from gandist.conditions.masked import Masks, masked
from tests.helpers.no_host_sync import Blind
from tests.helpers.pictures import numbers_for, pictures

KINDS = [{"box": {"area": 0.4}}, {"half": {}}, {"border": {"window": 0.4}}, {"strokes": {}}]


def with_hole(kind: dict[str, object], x: Tensor) -> Tensor:
    masks = Masks.model_validate({"kinds": [kind]})
    return masks.make(x, numbers_for(masks.noise(), tuple(x.shape[1:]), len(x)))


def harmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(H, W) with the hole solved for: each of its pixels is the mean of its neighbours."""
    index = -np.ones(image.shape, int)
    index[hole] = np.arange(hole.sum())
    matrix, right = scipy.sparse.lil_matrix((hole.sum(), hole.sum())), np.zeros(hole.sum())
    for row, column in np.argwhere(hole):
        k = index[row, column]
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
                matrix[k, k] += 1
                if hole[r, c]:
                    matrix[k, index[r, c]] -= 1
                else:
                    right[k] += image[r, c]
    solved = image.copy()
    solved[hole] = scipy.sparse.linalg.spsolve(matrix.tocsr(), right)
    return solved


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size", [(24, 24), (17, 30)])
def test_diffused_solves_laplaces_equation(kind: dict[str, object], size: tuple[int, int]) -> None:
    x = pictures(3, 30)[:, :, : size[0], : size[1]]
    y = with_hole(kind, x)
    filled = diffused(y)
    assert filled.shape == x.shape
    for image, hole, found in zip(x[:, 0].double().numpy(), y[:, -1].numpy() > 0, filled[:, 0].numpy(), strict=True):
        assert np.abs(found - harmonic(image, hole)).max() < 2e-3
    assert torch.equal(filled * (1 - y[:, -1:]), x * (1 - y[:, -1:]))


def test_diffused_comes_within_a_level_at_a_larger_size() -> None:
    y = with_hole({"border": {"window": 0.4}}, pictures(1, 64))
    apart = [(diffused(y, k) - diffused(y, 400)).abs().max().item() * 127.5 for k in (0, 10, 100)]
    assert apart[2] < 2 < apart[1] < apart[0]


def test_diffused_stays_solved() -> None:
    y = with_hole({"box": {"area": 0.1}}, pictures(2, 16))
    assert torch.allclose(diffused(y, 100), diffused(y, 200), atol=1e-5)
    assert torch.equal(diffused(masked(pictures(1), torch.zeros(1, 1, 24, 24))), pictures(1))
    assert not diffused(masked(pictures(1), torch.ones(1, 1, 24, 24))).any()


def test_mean_colour_is_that_of_the_known_pixels() -> None:
    x = pictures(3)
    y = with_hole({"box": {}}, x)
    filled = mean_colour(y)
    for image, hole, found in zip(x, y[:, -1] > 0, filled, strict=True):
        mean = torch.stack([channel[~hole].mean() for channel in image])
        assert torch.allclose(found[:, hole], mean[:, None].expand(-1, int(hole.sum())), atol=1e-5)
        assert torch.equal(found[:, ~hole], image[:, ~hole])
    assert not mean_colour(masked(x, torch.ones(3, 1, 24, 24))).any()


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_upscaled(scale: int) -> None:
    x = pictures(2)
    y = Degradation.model_validate({"scale": scale}).make(x, {})
    assert torch.equal(upscaled(y, scale, "nearest"), y.repeat_interleave(scale, 2).repeat_interleave(scale, 3))
    bicubic = upscaled(y, scale)
    assert torch.equal(bicubic, F.interpolate(y, x.shape[2:], mode="bicubic").clamp(-1, 1))
    apart = [(upscaled(y, scale, kind) - x).square().mean() for kind in ("bicubic", "nearest")]
    assert scale > 4 or apart[0] < apart[1]


def test_no_look_at_a_value_and_full_precision_inside_autocast() -> None:
    y, small = with_hole({"box": {}}, pictures(2)), pictures(2, 6)
    for floor, of in ((diffused, y), (mean_colour, y), (lambda y: upscaled(y, 4), small)):
        expected = floor(of)
        with Blind():  # type: ignore[no-untyped-call]
            floor(of)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(floor(of), expected)
        assert floor(of.double()).dtype == torch.float64
