"""Stripes against whole pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gandist.apply.stripes import scaled, write_png
from tests.unit.apply.conftest import pixels, smooth


def stripes(picture: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    for first in range(0, len(picture), rows):
        yield picture[first : first + rows]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 50, 200])
def test_a_png_is_read_as_it_was_written(tmp_path: Path, channels: int, rows: int) -> None:
    """Whatever the filters are that suit its rows."""
    picture = smooth(200, 91, channels)
    picture[50:60] = np.random.default_rng(0).integers(0, 256, (10, 91, channels))
    picture[80:100] = 7
    write_png(tmp_path / "a.png", stripes(picture, rows), (200, 91), channels)
    read = pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(read.reshape(picture.shape), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_smooth_png_is_about_as_small_as_pillows(tmp_path: Path) -> None:
    picture = smooth(256, 256)
    write_png(tmp_path / "ours.png", stripes(picture, 64), (256, 256), 3)
    Image.fromarray(picture).save(tmp_path / "theirs.png")
    assert (tmp_path / "ours.png").stat().st_size < 1.1 * (tmp_path / "theirs.png").stat().st_size


@pytest.mark.parametrize("target", [(200, 91), (100, 50), (13, 7), (1, 1), (500, 333), (201, 91)])
@pytest.mark.parametrize("rows", [1, 17, 200])
def test_stripes_are_resized_as_the_whole(target: tuple[int, int], rows: int) -> None:
    picture = smooth(200, 91)
    made = np.concatenate(list(scaled(stripes(picture, rows), (200, 91), target)))
    expected = np.asarray(Image.fromarray(picture).resize(target[::-1], Image.Resampling.LANCZOS))
    np.testing.assert_allclose(made.astype(int), expected.astype(int), atol=1)
