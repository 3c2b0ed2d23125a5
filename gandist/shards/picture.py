"""How an image is brought into a shard: oriented, 8-bit, resized, encoded."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

ENCODINGS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


class Picture(NamedTuple):
    """How each image is written."""

    size: int | None = None
    crop: str = "center"
    format: str = "png"
    quality: int = 95
    channels: int | None = None

    def encode(self, image: bytes | np.ndarray) -> bytes:
        """Decode, orient, resize and encode one image; whatever Pillow raises where it is broken."""
        # Only what sources list: Pillow would also run Ghostscript on an EPS that is called .png.
        formats = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
        if isinstance(image, np.ndarray):
            picture = Image.fromarray(image)
        else:
            picture = Image.open(io.BytesIO(image), formats=formats)
            picture = ImageOps.exif_transpose(picture)
        picture = _plain(picture)
        if self.channels is not None:
            picture = picture.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None and picture.size != (self.size, self.size):
            shape = (self.size, self.size)
            if self.crop == "center":
                picture = ImageOps.fit(picture, shape, Image.Resampling.LANCZOS)
            else:
                picture = picture.resize(shape, Image.Resampling.LANCZOS)
        picture.info = {}  # no profiles, dates or places in the shards
        sink = io.BytesIO()
        picture.save(sink, ENCODINGS[self.format], **({} if self.format == "png" else {"quality": self.quality}))
        return sink.getvalue()


def _plain(picture: Image.Image) -> Image.Image:
    """8-bit grey or RGB; what is transparent becomes white."""
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L", "F") else "RGB")
