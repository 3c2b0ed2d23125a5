"""Resizing against Pillow's, and the round trip of `resize`."""

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.conditions.resampling import Filter, Resize, matrices, resized
from tests.helpers.pictures import picture

PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


def levels_of(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(PILLOW))
@pytest.mark.parametrize(("height", "width"), [(24, 32), (12, 16), (6, 8), (96, 128)])
def test_resized_as_pillow_does(height: int, width: int, kind: Filter, channels: int) -> None:
    # Away from black and white, at which Pillow cuts off between its two passes.
    image = picture(48, 64, channels) // 2 + 64
    reference = Image.fromarray(image.squeeze()).resize((width, height), PILLOW[kind])
    found = resized(levels_of(image), height, width, kind).clamp(0, 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(found - np.asarray(reference).reshape(found.shape)).max() <= (1 if kind != "nearest" else 0)


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    one_and_a_half = matrices(torch.tensor([6]), torch.tensor([4]), 6, 4, "area")[0]
    assert torch.allclose(one_and_a_half[1], torch.tensor([0, 1, 2, 0, 0, 0]).double() / 3)


def test_columns_beyond_an_images_own_length_do_not_count() -> None:
    of_both = matrices(torch.tensor([5, 8]), torch.tensor([3, 3]), 8, 3, "bicubic")
    alone = matrices(torch.tensor([5]), torch.tensor([3]), 5, 3, "bicubic")
    assert torch.equal(of_both[0, :, :5], alone[0])
    assert not of_both[0, :, 5:].any()


def test_resize_goes_down_and_up_as_pillow_does() -> None:
    image = picture(24, 36, 3)
    u = torch.tensor([[0.0, 0, 0], [1 / 3, 0, 0], [1.0, 0, 0]], dtype=torch.float64)
    found = Resize(factor=(1, 4)).apply(levels_of(image).expand(3, -1, -1, -1), u, {}).clamp(0, 255)
    assert np.abs(found[0].permute(1, 2, 0).numpy() - image).max() < 1e-3
    for k, factor in ((1, 2), (2, 4)):
        small = Image.fromarray(image).resize((36 // factor, 24 // factor), Image.Resampling.BICUBIC)
        reference = np.asarray(small.resize((36, 24), Image.Resampling.BICUBIC))
        assert np.abs(found[k].permute(1, 2, 0).numpy() - reference).max() < 3, "Pillow rounds in between"


def test_each_image_draws_its_filters() -> None:
    levels = levels_of(picture(16, 16, 1)).expand(4, -1, -1, -1)
    u = torch.tensor([[0, a, b] for a in (0.2, 0.8) for b in (0.2, 0.8)], dtype=torch.float64)
    found = Resize(factor=(4, 4), filter=("area", "nearest"), back=("nearest", "bicubic")).apply(levels, u, {})
    for k, (down, up) in enumerate((a, b) for a in ("area", "nearest") for b in ("nearest", "bicubic")):
        alone = Resize.model_validate({"factor": 4, "filter": down, "back": up}).apply(levels[:1], u[:1], {})
        assert torch.allclose(found[k], alone[0], atol=1e-4)
