"""Prepare an image for a shard: oriented, 8-bit, resized, encoded."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from gandist.media.pixels import open_picture, orientation, plain

ENCODINGS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that makes an image upright, by orientation (EXIF 2.3)."""


def upright(image: bytes | np.ndarray) -> Image.Image:
    """A file or pixels as 8-bit grey or RGB, turned as its camera says; raises Pillow's errors if it is broken."""
    stored = Image.fromarray(image) if isinstance(image, np.ndarray) else open_picture(image, FORMATS)
    picture = plain(stored)
    turn = TURNS.get(orientation(stored))
    return picture if turn is None else picture.transpose(turn)


class Picture(NamedTuple):
    """Format of each written image."""

    size: int | None = None
    crop: str = "center"
    format: str = "png"
    quality: int = 95
    channels: int | None = None

    def encode(self, image: bytes | np.ndarray) -> bytes:
        """Decode, orient, resize and encode one image; raises Pillow's errors if it is broken."""
        return self._written(upright(image))

    def encoded(self, given: bytes | np.ndarray, note: Callable[[str], None]) -> list[bytes]:
        """The one file that an image becomes, as `encode` makes it."""
        return [self.encode(given)]

    def encode_pair(self, input: bytes | np.ndarray, target: bytes | np.ndarray) -> tuple[bytes, bytes]:
        """Encode both images of a pair alike.

        Raises:
            ValueError: one is broken, which the message names; or they differ by more than scale.
        """
        pictures = []
        for which, image in (("input", input), ("target", target)):
            try:
                pictures.append(upright(image))
            except Exception as error:  # decoders raise any exception
                raise ValueError(f"its {which}: {error}") from error
        (width, height), (other_width, other_height) = sorted((each.size for each in pictures), key=sum)
        # The smaller one scaled to the larger one's longer side is as high or wide as that, to a pixel of its own.
        if abs(height * other_width - width * other_height) > max(other_width, other_height):
            sizes = " and ".join(f"{w} x {h}" for w, h in (each.size for each in pictures))
            raise ValueError(
                f"its input and target are {sizes} pixels, which differ by more than scale; cut them alike"
            )
        given, wanted = map(self._written, pictures)
        return given, wanted

    def _written(self, picture: Image.Image) -> bytes:
        if self.channels is not None:
            picture = picture.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None and picture.size != (self.size, self.size):
            shape = (self.size, self.size)
            if self.crop == "center":
                picture = ImageOps.fit(picture, shape, Image.Resampling.LANCZOS)
            else:
                picture = picture.resize(shape, Image.Resampling.LANCZOS)
        picture.info = {}  # no profiles, dates or locations in the shards
        sink = io.BytesIO()
        picture.save(sink, ENCODINGS[self.format], **({} if self.format == "png" else {"quality": self.quality}))
        return sink.getvalue()
