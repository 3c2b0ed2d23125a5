"""Pillow's images in a plain form: 8 bits a channel, grey or RGB, opaque. Packing and decoding share this module, so
that an image looks the same either way.

White is 255 in 8 bits, and 65535 in 16. If the file does not define white, rules derive it from the values, so that
most images of a set are treated alike. An image that the rules do not cover is refused.
"""

import functools
import io
import logging
import warnings

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

log = logging.getLogger("gandist")

MAX_PIXELS = 1 << 29
"""Larger images are refused as decompression bombs; large photographs pass."""
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above it, and refuses above twice that
# Text and profiles of a PNG: Pillow's limit is 1 MB each, and 64 MB for all of an image's.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# Pillow's warnings concern faults that are refused here, or harmless ones (a damaged EXIF block, a large image).
warnings.filterwarnings("ignore", module=r"PIL\.")

ORIENTATION = 0x0112
"""EXIF tag of the camera's orientation."""
SLACK = 0.05
"""How far floating-point values may exceed their range, since resampling overshoots."""
BITS_PER_SAMPLE, WHITE_IS_ZERO = TiffImagePlugin.BITSPERSAMPLE, 0


def open_picture(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The image in `data`, not yet decoded.

    Raises:
        ValueError: the format is not one of these, or Pillow cannot read this kind.
        Image.DecompressionBombError: it has more than MAX_PIXELS.
    """
    try:
        # Only the listed formats: Pillow would also run Ghostscript on an EPS named .png.
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*") and "TIFF" in formats:
            raise ValueError(
                "a TIFF that is damaged, or of a kind that is not read (such as colour in floating point); mend it, or "
                "convert it to 8 bits"
            ) from error
        raise ValueError("cannot be identified as an image") from error


def orientation(image: Image.Image) -> int:
    """Camera orientation (1 to 8, EXIF 2.3) of a decoded image."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the tag is broken in some way, but the image may be sound
        return 1


def plain(image: Image.Image) -> Image.Image:
    """8-bit grey ("L") or "RGB"; transparency becomes white.

    Raises:
        ValueError: the white value is unknown.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey(image))
    stored = image.tile if isinstance(image, ImageFile.ImageFile) else []
    if stored and ";16" in str(stored[0].args) and image.format != "PPM":  # Pillow keeps only each value's upper byte
        colour = np.asarray(image)[:, :, : 1 if image.mode == "LA" else 3]
        if 0 < colour.max() < 16:
            raise ValueError("16 bits a channel, but no value above 4095, which is nearly black; convert it to 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _grey(image: Image.Image) -> np.ndarray:
    """An image of one channel with more than 8 bits, as (H, W) uint8."""
    declared, inverted = None, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]
        declared = bits if bits < 16 else None
        inverted = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
    elif image.format == "PPM":
        declared = 16  # the file defines white, and Pillow has scaled by it
    transparent = image.info.get("transparency")
    values = np.asarray(image)
    grey = _of_floats(values) if image.mode == "F" else _of_integers(values, image.mode == "I", declared)
    if inverted:
        grey = 255 - grey
    if isinstance(transparent, int):
        grey = np.where(values == transparent, np.uint8(255), grey)
    return grey


def _of_integers(values: np.ndarray, wide: bool, declared: int | None) -> np.ndarray:
    """Scale by the declared number of bits, else by the smallest of 8 (only for `wide`, 32-bit values), 12 and 16 that
    holds the values."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ValueError(
            f"holds whole numbers from {low} to {high}, not from 0 to 65535 at most; convert it to 8 or 16 bits"
        )
    if declared is None and not wide and 0 < high < 256:
        raise ValueError(f"16 bits, but no value above {high}, which is nearly black; convert it to 8 bits")
    if declared is None and 256 <= high < 4096:
        _tell_of_12_bits()
    bits = declared or (8 if high < 256 else 12 if high < 4096 else 16)
    return (values.astype(np.int32) >> (bits - 8)).astype(np.uint8)


@functools.cache
def _tell_of_12_bits() -> None:
    log.warning("grey images of 16 or 32 bits without a value above 4095 are taken for 12 bits: white is 4095")


def _of_floats(values: np.ndarray) -> np.ndarray:
    """Scale from the range 0 to 1, or 0 to 255."""
    low, high = float(values.min()), float(values.max())
    top = 1.0 if high <= 1 + SLACK else 255.0
    if not (-SLACK * top <= low and high <= (1 + SLACK) * top):  # also false for NaN
        raise ValueError(
            f"holds floating-point values from {low:g} to {high:g}, where white is 1 or 255; convert it to 8 bits"
        )
    return (values.clip(0, 1) * 255 + 0.5 if top == 1 else values.clip(0, 255)).astype(np.uint8)
