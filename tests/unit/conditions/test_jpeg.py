"""JPEG's loss against Pillow's codec."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.conditions.jpeg import LUMA_STEPS, Jpeg, jpeg, steps
from gandist.conditions.operations import OPERATIONS
from tests.helpers.pictures import picture

QUALITIES = (10, 30, 50, 75, 95, 100)


def saved(image: np.ndarray, quality: int, subsampling: int = -1) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


def ours(image: np.ndarray, quality: int, halve_chroma: bool = True) -> np.ndarray:
    levels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return jpeg(levels, torch.tensor([quality]), halve_chroma)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("channels", "subsampling"), [(1, -1), (3, 2), (3, 0)])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 53)])
def test_pixels_are_those_of_a_codec(height: int, width: int, channels: int, subsampling: int, quality: int) -> None:
    """All but a few: a codec's transform is rounded inside, which now and then decides a coefficient."""
    distances = []
    for seed in range(4):
        image = picture(height, width, channels, seed)
        reference = np.asarray(saved(image, quality, subsampling)).reshape(image.shape)
        distances.append(np.abs(ours(image, quality, subsampling != 0) - reference).mean())
        lost = np.abs(image.astype(float) - reference).mean()
        assert distances[-1] < max(1.0, 0.5 * lost)
    assert np.mean(distances) < 0.8


@pytest.mark.parametrize("quality", [1, 7, 33, 50, 77, 100])
def test_steps_are_those_of_a_codec(quality: int) -> None:
    stored = saved(picture(8, 8, 1), quality)
    found = steps(torch.tensor([quality]).double(), torch.tensor(LUMA_STEPS).flatten().double())
    assert found[0].tolist() == list(stored.quantization[0])  # type: ignore[attr-defined]


def test_a_second_time_changes_little() -> None:
    once = ours(picture(32, 32, 1), 40)
    assert np.abs(ours(once.astype(np.uint8), 40) - once).mean() < 0.2


def test_each_image_has_its_own_quality() -> None:
    levels = torch.from_numpy(picture(32, 32, 3)).permute(2, 0, 1)[None].float().expand(3, -1, -1, -1)
    together = jpeg(levels, torch.tensor([20, 60, 90]))
    for k, quality in enumerate((20, 60, 90)):
        assert torch.equal(together[k : k + 1], jpeg(levels[:1], torch.tensor([quality])))
    lost = (together - levels).abs().mean((1, 2, 3))
    assert lost[0] > lost[1] > lost[2]


def test_qualities_are_whole_numbers_of_the_range() -> None:
    operation = OPERATIONS["jpeg"].model_validate({"quality": [95, 97], "chroma": "4:4:4"})
    assert isinstance(operation, Jpeg)
    levels = torch.from_numpy(picture(8, 8, 3)).permute(2, 0, 1)[None].float().expand(300, -1, -1, -1)
    out = operation.apply(levels, torch.rand(300, 1, generator=torch.Generator().manual_seed(0)).double(), {})
    expected = jpeg(levels[:3], torch.tensor([95, 96, 97]), halve_chroma=False)
    assert np.array_equal(np.unique(out.numpy(), axis=0), np.unique(expected.numpy(), axis=0))
