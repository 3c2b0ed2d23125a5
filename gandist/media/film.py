"""Films of images: animated WebP, and MP4 for browsers."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gandist.errors import ConfigError, GandistError
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
    """Clips (N, F, H, W, C) uint8 in one grid, its frames as images (1, H', W', C), `times` from the first to the last."""
    columns = math.ceil(math.sqrt(len(clips)))
    for number in range(times * clips.shape[1]):
        frame = np.asarray(grid(clips[:, number % clips.shape[1]], columns))
        yield frame.reshape(1, *frame.shape[:2], -1)


def times_to_play(clips: npt.NDArray[np.uint8], fps: float) -> int:
    """How often clips (N, F, ...) are played in a film that does not begin again by itself."""
    return math.ceil(PLAYED_S * fps / clips.shape[1])


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
    # Whole milliseconds, as the format requires, without drift.
    ends = np.round(np.arange(len(images) + 1) * 1000 / fps).astype(int)
    options: dict[str, Any] = {"quality": 90} if (large if lossless is None else not lossless) else {"lossless": True}
    with written_atomically(out) as scratch:
        images[0].save(
            scratch, "WEBP", save_all=True, append_images=images[1:], duration=np.diff(ends).tolist(), loop=0, **options
        )


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
    import av
    from av.video.reformatter import ColorRange, Colorspace

    fast = {"movflags": "+faststart"}  # plays while it downloads
    with written_atomically(out) as scratch, av.open(str(scratch), "w", format="mp4", options=fast) as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "14"})
        for number, frame in enumerate(frames_of(batches)):
            # Colour is stored at half the resolution, so both sizes must be even.
            pixels = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                context = stream.codec_context
                context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
                context.color_primaries = context.color_trc = Colorspace.ITU709  # the same number for all three
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            file.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        file.mux(stream.encode(None))
