"""Images as a medium: rows, what networks see, files and previews."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from gandist.errors import DataError
from gandist.media.gallery import png_of
from gandist.media.image import Image
from gandist.media.kinds import MEDIA


def test_it_has_a_name() -> None:
    assert MEDIA["image"] is Image


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_come_back_from_networks_and_files(channels: int) -> None:
    medium = Image(resolution=16, channels=channels)
    rows = np.random.default_rng(0).integers(0, 256, (5, 16, 16, channels), np.uint8)
    assert (medium.row.shape, medium.row.values) == (rows.shape[1:], rows[0].size)
    assert medium.row.n_bytes == rows[0].nbytes
    x = medium.to_network(torch.from_numpy(rows))
    assert tuple(x.shape[1:]) == medium.network_shape
    np.testing.assert_array_equal(medium.from_network(x).numpy(), rows)
    out = np.empty_like(rows[0])
    for row in rows:
        medium.decode(medium.encode(row), out)
        np.testing.assert_array_equal(out, row)
    assert medium.extension in medium.extensions


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(DataError, match="not a whole png, jpeg or webp image"):
        Image().decode(b"no image", np.empty((32, 32, 3), np.uint8))


def test_a_preview_is_a_grid() -> None:
    medium = Image(resolution=16, channels=3)
    rows = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    preview = medium.preview(rows, 3)
    assert preview.suffix == ".png"
    with Pillow.open(io.BytesIO(preview.content)) as picture:
        assert picture.size == (3 * 96 + 2 * 2, 2 * 96 + 2)
        np.testing.assert_array_equal(np.asarray(picture)[:96:6, :96:6], rows[0])
    assert medium.encode(rows[0]) == png_of(rows[0])


def test_coarse_features_are_means_of_fields() -> None:
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    coarse = Image(resolution=16, channels=1).coarse(x)
    assert coarse.shape == (3, 64)
    torch.testing.assert_close(coarse[1, 9], x[1, 0, 2:4, 2:4].mean())


def test_without_flipping_nothing_is_drawn() -> None:
    assert Image().uniforms == ()
    assert Image(flip=True).uniforms == ("flip",)


def test_on_the_device_pixels_are_centred_and_mirrored() -> None:
    pixels = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    pixels[0, 0, 0, 0], pixels[0, 0, 1, 0] = 0, 255
    medium = Image(resolution=8, flip=True)
    x = medium.to_network(pixels, dtype=torch.float64)
    assert x.shape == (4, 3, 8, 8)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (float(x[0, 0, 0, 0]), float(x[0, 0, 0, 1])) == (-1.0, 1.0)
    torch.testing.assert_close(x, pixels.permute(0, 3, 1, 2) / 127.5 - 1, check_dtype=False)
    mirrored = medium.to_network(pixels, {"flip": torch.tensor([0.4, 0.5, 0.0, 0.9])}, torch.float64)
    assert torch.equal(mirrored[0], x[0].flip(-1))
    assert torch.equal(mirrored[1], x[1])
    assert pixels[0, 0, 1, 0] == 255, "the batch itself is left as it is"
    assert medium.to_network(pixels).dtype == torch.float32
