"""Encoded bytes to one uint8 image: every usual kind of file, and nothing that is not one."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gandist.errors import DataError
from gandist.media.decode import decode


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(sink, format, **options)
    return sink.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards; what lossy formats keep."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 90)], axis=2).astype(np.uint8)


def test_png_and_lossless_webp_to_the_byte() -> None:
    image = noise(16, 16)
    for data in (encoded(image), encoded(image, "WEBP", lossless=True)):
        out = decode(data, 16, 3)
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_formats_nearly(format: str, options: dict[str, int]) -> None:
    image = smooth(32, 32)
    off = np.abs(decode(encoded(image, format, **options), 32, 3).astype(int) - image)
    assert off.mean() < 3


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_has_the_shape_asked_for(format: str, channels: int) -> None:
    for image in (noise(20, 20), noise(20, 20, 1), noise(9, 30), noise(200, 90)):
        out = decode(encoded(image, format), 16, channels)
        assert out.shape == (16, 16, channels)
        assert out.dtype == np.uint8
        assert out.flags.c_contiguous


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(16, 16), (8, 8), (8, 30), (32, 32), (200, 90)])
@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_into_a_place_of_its_own_the_same_bytes(format: str, size: tuple[int, int], turned: int, channels: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    data = encoded(noise(*size), format, exif=exif)
    batch = np.full((3, 16, 16, channels), 7, np.uint8)
    assert decode(data, 16, channels, batch[1]).base is batch
    np.testing.assert_array_equal(batch[1], decode(data, 16, channels))
    assert batch[1].std() > 1
    assert (batch[[0, 2]] == 7).all()


def test_grey_becomes_three_equal_channels_and_colour_its_luminance() -> None:
    grey = noise(8, 8, 1)
    np.testing.assert_array_equal(decode(encoded(grey), 8, 3), np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(decode(encoded(grey), 8, 1)[:, :, 0], grey)
    for format in ("PNG", "JPEG", "WEBP"):
        colour = Image.new("RGB", (8, 8), (200, 100, 50))
        luminance = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
        assert decode(encoded(colour, format), 8, 1).mean() == pytest.approx(luminance, abs=3)


def test_transparency_is_laid_on_white() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4, :, 3] = 255
    image[4:, :, 3] = 128
    image[7:, :, 3] = 0
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        out = decode(encoded(image, format, **options), 8, 3)
        assert [int(out[row].mean()) for row in (0, 5, 7)] == pytest.approx([0, 127, 255], abs=1)
    grey = Image.fromarray(np.zeros((8, 8), np.uint8))
    grey.putalpha(0)
    assert decode(encoded(grey), 8, 1).min() == 255


def test_palettes() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert decode(encoded(image), 8, 3)[0, 0].tolist() == [255, 0, 0]
    assert decode(encoded(image, transparency=1), 8, 3)[0, 0].tolist() == [255, 255, 255]
    assert decode(encoded(Image.new("1", (8, 8), 1)), 8, 1).min() == 255


def test_16_bits_are_scaled_not_clipped() -> None:
    image = np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16)
    assert decode(encoded(image), 2, 1)[:, :, 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_cmyk_jpeg() -> None:
    out = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), 16, 3)
    assert np.abs(out.astype(int) - [255, 0, 0]).max() < 5


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_a_camera_held_sideways(format: str, orientation: int, size: tuple[int, int]) -> None:
    """The stored pixels are turned so that `orientation` (EXIF 2.3, tag 0x0112) undoes it."""
    upright = Image.fromarray(smooth(*size))
    stored = upright
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    if orientation > 1:
        stored = upright.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format != "PNG" else {}
    out = decode(encoded(stored, format, exif=exif, **options), 16, 3)
    expected = decode(encoded(upright), 16, 3)
    assert np.abs(out.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("remark", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_a_damaged_remark_does_not_cost_the_image(format: str, remark: bytes) -> None:
    image = smooth(16, 16)
    np.testing.assert_array_equal(
        decode(encoded(image, format, exif=remark), 16, 3), decode(encoded(image, format), 16, 3)
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("tall", [False, True])
def test_the_central_square_is_cut(format: str, tall: bool) -> None:
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    out = decode(encoded(image.transpose(1, 0, 2) if tall else image, format), 16, 3)
    assert out[2:-2, 2:-2].min() > 245
    assert out.mean() > 240


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [8, 16, 100, 517])
def test_down_and_up(format: str, side: int) -> None:
    """A ramp stays the same ramp at every scale, without ringing or aliasing."""
    out = decode(encoded(smooth(side, side), format), 16, 3).astype(int)
    expected = smooth(side, side)[:, :, 0].mean(0).reshape(1, side)
    centres = (np.arange(16) + 0.5) * side / 16 - 0.5
    ramp = np.interp(centres, np.arange(side), expected[0])
    assert np.abs(out[:, :, 0].mean(0) - ramp)[1:-1].max() < 12
    assert np.abs(out[:, :, 1].mean(1) - ramp)[1:-1].max() < 12


def test_no_aliasing() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    for format in ("PNG", "JPEG"):
        assert np.ptp(decode(encoded(stripes, format), 16, 3)[:, 2:-2]) < 20


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.98])
def test_truncated_files_are_refused(format: str, kept: float) -> None:
    data = encoded(noise(32, 32), format)
    with pytest.raises(DataError, match="not a whole png, jpeg or webp image"):
        decode(data[: int(len(data) * kept)], 32, 3)


class Trap:
    """Unpickled, it would end the test run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, (77,)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Trap()),
        b"\xff\xd8" + pickle.dumps(Trap()),
        b"\x89PNG\r\n\x1a\n" + pickle.dumps(Trap()),
        pickle.dumps(noise(8, 8)),
        encoded(noise(8, 8), "GIF"),
        encoded(noise(8, 8), "TIFF"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\x00" * 100,
    ],
    ids=["pickle", "as jpeg", "as png", "array", "gif", "tiff", "eps", "zeros"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a whole png, jpeg or webp image"):
        decode(data, 8, 3)
