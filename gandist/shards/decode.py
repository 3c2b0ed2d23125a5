"""Encoded bytes -> one uint8 image of the size and channels asked for. By a fixed list of formats, never a pickle."""

import io
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image

from gandist.errors import DataError

Image.MAX_IMAGE_PIXELS = 1 << 28  # a decompression bomb is an error, a large photograph is not


ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What makes a square upright, by orientation (EXIF 2.3)."""


def decode(data: bytes, resolution: int, channels: int, out: np.ndarray | None = None) -> np.ndarray:
    """(resolution, resolution, channels) uint8: upright, the central square, resized; transparency is laid on white.

    Args:
        out: a contiguous array of that shape, to be filled and returned: a JPEG of that size is decoded into it.

    Raises:
        DataError: the bytes are not a whole png, jpeg or webp image.
    """
    pixels = np.empty((resolution, resolution, channels), np.uint8) if out is None else out
    try:
        if data[:2] == b"\xff\xd8":
            _decode_jpeg(data, pixels)
            orientation = 1
            if data.find(b"Exif\0\0", 0, 1 << 16) >= 0:
                with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                    orientation = _orientation(image)
        else:
            with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as image:
                pixels[...] = _fit(_flatten(image), resolution, channels)
                orientation = _orientation(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"not a whole png, jpeg or webp image: {error}") from error
    if orientation in TURNS:
        pixels[...] = TURNS[orientation](pixels.copy())
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the remark is garbage, in whatever way: the image need not be
        return 1


def _decode_jpeg(data: bytes, out: np.ndarray) -> None:
    resolution, _, channels = out.shape
    # libjpeg scales by eighths while it decodes: most of the work of a large photograph is never done.
    how = {"colorspace": "Gray" if channels == 1 else "RGB", "min_height": resolution, "min_width": resolution}
    try:  # Whether it fits is in its header; to look there first would give the interpreter away once more.
        pixels = simplejpeg.decode_jpeg(data, **how, buffer=out)
        if pixels.shape == out.shape:
            return
    except ValueError:
        pixels = simplejpeg.decode_jpeg(data, **how)
    out[...] = _fit(Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels), resolution, channels)


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image)
    return image


def _fit(image: Image.Image, resolution: int, channels: int) -> np.ndarray:
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey: Pillow's own conversion would clip it
        image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    side = min(image.size)
    if image.size != (resolution, resolution):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image, dtype=np.uint8).reshape(resolution, resolution, channels)
