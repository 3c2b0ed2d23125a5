"""Films of images: animated WebP, and MP4 for browsers."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gandist.errors import ConfigError, GandistError
from gandist.media.animated import durations, save_mp4, save_webp
from gandist.media.gallery import enlarged, grid
from gandist.storage.atomic import written_atomically

FRAME_PX = 256
"""Smaller images are enlarged by the largest whole factor that stays within this size."""
PLAYED_S = 8
"""Clips in an MP4 are repeated for so many seconds at least."""
WEBP_BYTES = 2 << 30
"""Limit of an animated WebP's pixels: Pillow holds all of them in memory."""


def frames_of(batches: Iterable[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames (H, W, 3) from batches of images uint8 (any, H, W, C) with one or three channels."""
    for batch in batches:
        for frame in enlarged(batch, FRAME_PX):
            yield np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))


def played(clips: npt.NDArray[np.uint8], times: int = 1) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames (1, H', W', C) uint8 of a grid of clips (N, F, H, W, C), all of them `times` over."""
    columns = math.ceil(math.sqrt(len(clips)))
    for number in range(times * clips.shape[1]):
        frame = np.asarray(grid(clips[:, number % clips.shape[1]], columns))
        yield frame.reshape(1, *frame.shape[:2], -1)


def write_grid(out: Path, clips: npt.NDArray[np.uint8], fps: float) -> None:
    """Write clips (N, F, H, W, C) uint8 in one grid that plays: as WebP endless and without loss, or as MP4, repeated
    for `PLAYED_S` at least, since that does not begin again by itself.

    Raises:
        ConfigError: they do not fit in memory.
    """
    if out.suffix.lower() == ".mp4":
        write_mp4(out, played(clips, math.ceil(PLAYED_S * fps / clips.shape[1])), fps)
    else:
        write_webp(out, played(clips), fps, lossless=True)


def write_webp(
    out: Path, batches: Iterable[npt.NDArray[np.uint8]], fps: float, *, lossless: bool | None = None
) -> None:
    """Write images uint8 (any, H, W, C) as an endless animation; by default lossless if they were enlarged.

    Raises:
        ConfigError: they do not fit in memory.
    """
    images: list[Image.Image] = []
    large, held = False, 0
    for batch in batches:
        for frame in frames_of([batch]):
            images.append(Image.fromarray(frame))
            large, held = frame.shape[1] == batch.shape[2], held + frame.size
            if held > WEBP_BYTES:
                raise ConfigError(f"--out {out}: more than {len(images) - 1} frames for a .webp; write an .mp4")
    options: dict[str, Any] = {"quality": 90} if (large if lossless is None else not lossless) else {"lossless": True}
    with written_atomically(out) as scratch:
        save_webp(scratch, images, durations(len(images), fps), **options)


def need_video(out: Path, instead: str = ".webp") -> None:
    """Check early that MP4 files can be written; `instead`: the suffixes of what needs no library.

    Raises:
        GandistError: the library is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise GandistError(
            f"--out {out}: needs PyAV: {error}; pip install 'gandist[video]', or write {instead}"
        ) from error


def write_mp4(out: Path, batches: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    """Write images uint8 (any, H, W, C) as H.264, frame by frame; odd sizes get an extra row or column."""
    with written_atomically(out) as scratch:
        save_mp4(scratch, frames_of(batches), fps, crf=14)
