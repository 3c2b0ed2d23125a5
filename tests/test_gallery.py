import io

import numpy as np
import pytest
from PIL import Image

from gandist.gallery import grid, png_bytes


def numbered(n: int, channels: int, size: int) -> np.ndarray:
    """Images of one tone each: image i has the value 10 (i + 1), plus its channel."""
    tones = 10 * np.arange(1, n + 1, dtype=np.uint8)[:, None] + np.arange(channels, dtype=np.uint8)
    return np.broadcast_to(tones[:, :, None, None], (n, channels, size, size))


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
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32), dtype=np.uint8)
    picture = np.asarray(grid(image, columns=1))
    assert picture.shape == (96, 96)
    for dy in range(3):
        for dx in range(3):
            assert np.array_equal(picture[dy::3, dx::3], image[0, 0])
    assert [grid(numbered(1, 1, size), columns=1).width for size in (28, 64, 128)] == [84, 64, 128]
    assert grid(np.zeros((1, 3, 16, 48), np.uint8), columns=1).size == (96, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless_and_repeatable(channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, channels, 32, 32), dtype=np.uint8)
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
        np.zeros((4, 2, 8, 8), np.uint8),
        np.zeros((4, 3, 8, 8), np.float32),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 3, 8, 8), np.uint8),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="images"):
        grid(images, columns=2)


def test_columns_must_be_positive() -> None:
    with pytest.raises(ValueError, match="columns"):
        grid(numbered(2, 1, 8), columns=0)
