"""A user's picture, as a network takes it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gandist.errors import DataError
from gandist.media.picture import FORMATS, TURNS
from gandist.media.pixels import open_picture, orientation, plain

BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that are no sound pictures."""


class Picture(NamedTuple):
    """Upright, 8 bits a channel."""

    pixels: np.ndarray
    """(H, W, C) uint8."""
    alpha: np.ndarray | None
    """(H, W) uint8: 255 where it is opaque. None if all of it is."""
    profile: bytes
    """The ICC profile of its colours; empty if it has none."""
    lost_colours: bool
    """Whether it was turned grey because the network takes no colours."""


def read_picture(path: Path, channels: int, grey: bool = False) -> Picture:
    """Read a PNG, JPEG, WebP, BMP, GIF (its first frame), TIFF or PPM file.

    Args:
        channels: 1 or 3, as the network takes them; a picture is converted.
        grey: remove colours, but keep the channels.

    Raises:
        DataError: it is no sound picture, or its white value is unknown.
    """
    try:
        stored = open_picture(path.read_bytes(), FORMATS)
        flat = plain(stored)
        colours, alpha = flat, None
        if stored.has_transparency_data:
            bands = stored.convert("RGBA")
            colours, alpha = bands.convert("RGB"), bands.getchannel("A")
        turn = TURNS.get(orientation(stored))
        if turn is not None:
            colours, alpha = colours.transpose(turn), alpha and alpha.transpose(turn)
    except BROKEN as error:
        raise DataError(f"{path}: {_reason(error)}") from error
    coloured = flat.mode == "RGB" and stored.mode not in ("LA", "La", "L")
    if channels == 1 or grey:
        colours = colours.convert("L")
    pixels = np.asarray(colours.convert("L" if channels == 1 else "RGB"))
    return Picture(
        pixels.reshape(*pixels.shape[:2], channels),
        None if alpha is None else np.asarray(alpha),
        stored.info.get("icc_profile") or b"" if stored.mode in ("RGB", "RGBA") and channels == 3 else b"",
        coloured and channels == 1,
    )


def _reason(error: BaseException) -> str:
    """What a user reads of Pillow's errors."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
