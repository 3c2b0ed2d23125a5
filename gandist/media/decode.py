"""Encoded bytes -> one uint8 image of given size and channels. Accepts a fixed list of formats, never a pickle."""

from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image

from gandist import __version__
from gandist.errors import DataError
from gandist.media.pixels import open_picture, orientation, plain

EXTENSIONS = ("png", "jpg", "jpeg", "webp")
"""Extensions of files that can be decoded."""
DECODER = f"{__version__}-2"
"""Version of the decoder; changes whenever the same bytes give different pixels, and cached images are then redone."""
REDUCED = 3
"""Minimum ratio of a JPEG's decoding size to the requested size, before resizing. At 3 times, the result is within 1
of 255 grey levels, on average, of resizing the full image. At 2 times it is 2 levels off, at once 15."""
EIGHTHS = (1, 2, 4)
"""Scales with vector instructions in libjpeg, besides the full size."""
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""Transposition that makes a square upright, by orientation (EXIF 2.3)."""


def decode(data: bytes, resolution: int, channels: int, out: np.ndarray | None = None) -> np.ndarray:
    """(resolution, resolution, channels) uint8: upright, central square, resized; transparency becomes white.

    Args:
        out: a contiguous array of that shape, filled and returned; a JPEG of that size is decoded straight into it.

    Raises:
        DataError: the bytes are not a complete png, jpeg or webp image, or its white value is unknown.
    """
    pixels = np.empty((resolution, resolution, channels), np.uint8) if out is None else out
    try:
        if data[:2] == b"\xff\xd8":
            _decode_jpeg(data, pixels)
            held = 1
            if data.find(b"Exif\0\0", 0, 1 << 16) >= 0:
                with open_picture(data, ("JPEG",)) as image:
                    held = orientation(image)
        else:
            with open_picture(data, ("PNG", "WEBP")) as image:
                pixels[...] = fitted(plain(image), resolution, channels)
                held = orientation(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"not a whole png, jpeg or webp image: {error}") from error
    if held in TURNS:
        pixels[...] = TURNS[held](pixels.copy())
    return pixels


def _decode_jpeg(data: bytes, out: np.ndarray) -> None:
    resolution, _, channels = out.shape
    space = "Gray" if channels == 1 else "RGB"
    # libjpeg scales by eighths while it decodes, which skips most of the work on a large photograph.
    least, size = REDUCED * resolution, None
    try:  # The header shows whether it fits, but reading it first would release the interpreter lock again.
        pixels = simplejpeg.decode_jpeg(data, space, min_height=least, min_width=least, buffer=out)
        if pixels.shape == out.shape:
            return
        image = _image(pixels)
    except ValueError:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        scale = next((n / 8 for n in EIGHTHS if min(height, width) * n >= 8 * least), 1.0)
        least_size = {"min_height": int(height * scale), "min_width": int(width * scale)}
        try:
            image, size = _image(simplejpeg.decode_jpeg(data, space, **least_size)), (width * scale, height * scale)
        except ValueError as error:
            if "extraneous bytes" not in str(error):
                raise
            with open_picture(data, ("JPEG",)) as whole:  # Pillow skips such bytes, and refuses a truncated file
                image = plain(whole)
    out[...] = fitted(image, resolution, channels, size)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def fitted(image: Image.Image, resolution: int, channels: int, size: tuple[float, float] | None = None) -> np.ndarray:
    """The central square, cropped as by `ImageOps.fit`, resized.

    Args:
        size: width and height that the image covers of its pixels; the last column and row may be partial. A JPEG of
            257 pixels decoded at a quarter has 65 pixels and covers 64.25 of them.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        width, height = size or image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image, dtype=np.uint8).reshape(resolution, resolution, channels)
