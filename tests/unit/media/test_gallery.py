import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.media.gallery import circuit, enlarged, grid, png_bytes, slerp


def numbered(n: int, channels: int, size: int) -> np.ndarray:
    """Images of one tone each: image i has the value 10 (i + 1), plus its channel."""
    tones = 10 * np.arange(1, n + 1, dtype=np.uint8)[:, None] + np.arange(channels, dtype=np.uint8)
    return np.broadcast_to(tones[:, None, None, :], (n, size, size, channels))


def test_images_stand_row_by_row() -> None:
    picture = grid(numbered(5, 3, 96), columns=3, gap=4)
    assert picture.mode == "RGB"
    assert picture.size == (3 * 96 + 2 * 4, 2 * 96 + 4)
    for i in range(5):
        assert picture.getpixel((i % 3 * 100 + 50, i // 3 * 100 + 50)) == (
            10 * i + 10,
            10 * i + 11,
            10 * i + 12,
        )
    white = (255, 255, 255)
    assert picture.getpixel((97, 50)) == picture.getpixel((50, 97)) == picture.getpixel((250, 150)) == white


def test_small_images_grow_by_whole_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    picture = np.asarray(grid(image, columns=1))
    assert picture.shape == (96, 96)
    for dy in range(3):
        for dx in range(3):
            assert np.array_equal(picture[dy::3, dx::3], image[0, :, :, 0])
    assert [grid(numbered(1, 1, size), columns=1).width for size in (28, 64, 128)] == [84, 64, 128]
    assert grid(np.zeros((1, 16, 48, 3), np.uint8), columns=1).size == (96, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless_and_repeatable(channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 32, 32, channels), dtype=np.uint8)
    picture = grid(images, columns=3)
    data = png_bytes(picture)
    assert data == png_bytes(grid(images.copy(), columns=3))
    with Image.open(io.BytesIO(data)) as read:
        assert read.format == "PNG"
        assert read.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(read), np.asarray(picture))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 8, 8, 2), np.uint8),
        np.zeros((4, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="images"):
        grid(images, columns=2)


def test_columns_must_be_positive() -> None:
    with pytest.raises(ValueError, match="columns"):
        grid(numbered(2, 1, 8), columns=0)


def test_enlarged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    assert np.array_equal(enlarged(images, 14)[1, 1::2, ::2], images[1])
    assert [enlarged(images, px).shape for px in (3, 9, 10)] == [(2, 5, 4, 3), (2, 5, 4, 3), (2, 10, 8, 3)]


def test_slerp() -> None:
    a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    torch.testing.assert_close(slerp(a, b, torch.zeros(2, 1)), a)
    torch.testing.assert_close(slerp(a, b, torch.ones(2, 1)), b)
    torch.testing.assert_close(slerp(a, b, torch.full((2, 1), 0.5)), (a + b) / math.sqrt(2))
    assert slerp(a, a, torch.full((2, 1), 0.5)).allclose(a, atol=1e-5), "an arc of no length is no NaN"


def test_a_circuit_is_closed_and_even() -> None:
    """Through every latent, in steps that are all as long on their arc, the one from the last to the first too."""
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    way = circuit(z, 10)
    assert way.shape == (30, 16)
    assert torch.equal(way[::10], z)
    unit = circuit(z / z.norm(dim=1, keepdim=True), 10).double()
    steps = (unit * unit.roll(-1, 0)).sum(1).acos().view(3, 10)
    arcs = (unit[::10] * unit[::10].roll(-1, 0)).sum(1).acos()
    torch.testing.assert_close(steps, (arcs / 10)[:, None].expand(3, 10), rtol=1e-4, atol=0)
    torch.testing.assert_close(circuit(z[:1].expand(2, -1), 4), z[:1].expand(8, -1))
    assert torch.equal(circuit(torch.zeros(2, 4), 3), torch.zeros(6, 4))
