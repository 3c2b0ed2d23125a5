"""Films of images: animated WebP, and MP4 for browsers."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gandist.errors import ConfigError, GandistError
from gandist.media.animated import durations, save_mp4, save_webp
from gandist.media.gallery import enlarged
from gandist.storage.atomic import written_atomically

FRAME_PX = 256
"""Smaller images are enlarged by the largest whole factor that stays within this size."""
WEBP_BYTES = 2 << 30
"""Limit of an animated WebP's pixels: Pillow holds all of them in memory."""


def frames_of(batches: Iterable[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames (H, W, 3) from batches of images uint8 (any, H, W, C) with one or three channels."""
    for batch in batches:
        for frame in enlarged(batch, FRAME_PX):
            yield np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))


def write_webp(out: Path, batches: Iterable[npt.NDArray[np.uint8]], fps: int) -> None:
    """Write images uint8 (any, H, W, C) as an endless animation; lossless if they were enlarged.

    Raises:
        ConfigError: they do not fit in memory.
    """
    images: list[Image.Image] = []
    lossless, held = False, 0
    for batch in batches:
        for frame in frames_of([batch]):
            images.append(Image.fromarray(frame))
            lossless, held = frame.shape[1] > batch.shape[2], held + frame.size
            if held > WEBP_BYTES:
                raise ConfigError(f"--out {out}: more than {len(images) - 1} frames for a .webp; write an .mp4")
    options: dict[str, Any] = {"lossless": True} if lossless else {"quality": 90}
    with written_atomically(out) as scratch:
        save_webp(scratch, images, durations(len(images), fps), **options)


def need_video(out: Path) -> None:
    """Check early that an MP4 can be written.

    Raises:
        GandistError: the library is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise GandistError(f"--out {out}: needs PyAV: {error}; pip install 'gandist[video]', or write .webp") from error


def write_mp4(out: Path, batches: Iterable[npt.NDArray[np.uint8]], fps: int) -> None:
    """Write images uint8 (any, H, W, C) as H.264, frame by frame; odd sizes get an extra row or column."""
    with written_atomically(out) as scratch:
        save_mp4(scratch, frames_of(batches), fps, crf=14)
