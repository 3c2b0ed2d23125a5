"""Prepare an image for a shard: oriented, 8-bit, resized, encoded."""

import io
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


class Picture(NamedTuple):
    """Format of each written image."""

    size: int | None = None
    crop: str = "center"
    format: str = "png"
    quality: int = 95
    channels: int | None = None

    def encode(self, image: bytes | np.ndarray) -> bytes:
        """Decode, orient, resize and encode one image; raises Pillow's errors if it is broken."""
        stored = Image.fromarray(image) if isinstance(image, np.ndarray) else open_picture(image, FORMATS)
        picture = plain(stored)
        turn = TURNS.get(orientation(stored))
        if turn is not None:
            picture = picture.transpose(turn)
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
