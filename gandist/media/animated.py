"""Clips as files: animations, grids that play, strips of frames, films."""

import io
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

from gandist.media.clip import library
from gandist.media.gallery import CELL_PX, grid, png_bytes
from gandist.media.medium import PLAYS, Preview

Clips = npt.NDArray[np.uint8]

REPEATABLE = "cpu-independent=1:threads=1"
"""Options of x264, without which equal frames of 30 to 48 pixels may give different bytes."""
STRIP_CLIPS, STRIP_FRAMES = 20, 16
"""Clips and frames of a strip at most."""
PLAYED_BYTES = 2_000_000
"""A preview that plays is at most as large."""
PLAYED_FRAMES, PLAYED_PX = 32, 128
"""A preview plays at most so many frames, the first, and shows larger clips smaller by a whole factor; so does its
strip, those larger than `CELL_PX`."""
COARSER: tuple[tuple[int, dict[str, Any]], ...] = (
    (1, {"lossless": True}),
    (1, {"quality": 80}),
    (1, {"quality": 50}),
    (2, {"quality": 50}),
    (4, {"quality": 30}),
    (8, {"quality": 10}),
)
"""Factors by which a preview shrinks, and options of its compression, from the best on."""
GIF_PIXELS = 4_000_000
"""A GIF of more pixels in all its frames shrinks by a whole factor; each takes a byte at most."""


def durations(n: int, fps: float, unit_ms: int = 1) -> list[int]:
    """Milliseconds of each of `n` frames: whole units, as formats require, whose sums do not drift."""
    ends = np.round(np.arange(n + 1) * 1000 / fps / unit_ms).astype(int) * unit_ms
    lengths: list[int] = np.diff(ends).tolist()
    return lengths


def save_webp(sink: Path | BinaryIO, frames: list[Image.Image], lengths_ms: list[int], **options: Any) -> None:
    """Write an endless animation; `options` are Pillow's, such as `lossless`."""
    frames[0].save(sink, "WEBP", save_all=True, append_images=frames[1:], duration=lengths_ms, loop=0, **options)


def webp_bytes(frames: list[Image.Image], fps: float) -> bytes:
    """An endless animation without loss."""
    sink = io.BytesIO()
    save_webp(sink, frames, durations(len(frames), fps), lossless=True)
    return sink.getvalue()


def apng_bytes(clip: Clips, fps: float, merge: bool = True) -> bytes:
    """A clip (F, H, W, C) or (F, H, W) uint8 without loss, as an animated PNG that is repeated endlessly.

    Args:
        merge: equal frames that follow one another become one that is shown longer; False keeps each.
    """
    frames = [Image.fromarray(frame[:, :, 0] if frame.ndim == 3 and frame.shape[2] == 1 else frame) for frame in clip]
    sink = io.BytesIO()
    # Pillow merges frames of one way of blending, which is all the same for opaque ones
    apart = {} if merge else {"blend": [number % 2 for number in range(len(frames))]}
    frames[0].save(sink, "PNG", save_all=True, append_images=frames[1:], duration=1000 / fps, loop=0, **apart)
    return sink.getvalue()


def save_mp4(sink: Path | BinaryIO, frames: Iterable[Clips], fps: float, crf: int) -> None:
    """Write frames (H, W, 3) uint8 of one size as H.264, one by one; odd sizes get an extra row or column.

    Args:
        crf: how coarse it may be; 0 loses least, each 6 more halve the size.

    Raises:
        GandistError: PyAV is not installed.
    """
    av = library()
    from av.video.reformatter import ColorRange, Colorspace

    # Plays while it downloads; for this a file is read again
    fast = {"movflags": "+faststart"} if isinstance(sink, Path) else {}
    name = str(sink) if isinstance(sink, Path) else sink
    with av.open(name, "w", format="mp4", options=fast) as file:
        coding = {"crf": str(crf), "x264-params": REPEATABLE}
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=coding)
        for number, frame in enumerate(frames):
            # Colour is stored at half the resolution, so both sizes must be even.
            pixels = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                context = stream.codec_context
                context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
                context.color_primaries = context.color_trc = Colorspace.ITU709  # the same number for all three
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            file.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        file.mux(stream.encode(None))


def mp4_bytes(clip: Clips, fps: float) -> bytes:
    """A clip (F, H, W, C) uint8 as H.264.

    Raises:
        GandistError: PyAV is not installed.
    """
    sink = io.BytesIO()
    save_mp4(sink, np.broadcast_to(clip, (*clip.shape[:3], 3)), fps, crf=10)
    return sink.getvalue()


def preview_of(rows: Clips, columns: int, fps: float) -> Preview:
    """Clips (N, F, H, W, C) uint8 as a grid that plays, and a strip: a clip a line, its frames from left to right.

    The strip has the first clip of each line of the grid, or those of the first if it has one line.
    """
    n, length = rows.shape[:2]
    plays = [grid(_smaller(rows[:, at], PLAYED_PX), columns) for at in range(min(length, PLAYED_FRAMES))]
    some = rows[:: columns if n > columns else 1][:STRIP_CLIPS]
    small = np.stack([_smaller(clip, CELL_PX) for clip in some])
    return Preview(played_bytes(plays, durations(len(plays), fps)), PLAYS, still=strips(small))


def strips(clips: Clips) -> bytes:
    """Clips (N, F, H, W, C) uint8 as a PNG file: a line each, its frames from left to right, at most `STRIP_FRAMES`."""
    length = clips.shape[1]
    at = np.linspace(0, length - 1, min(STRIP_FRAMES, length)).round().astype(int)
    return png_bytes(grid(clips[:, at].reshape(-1, *clips.shape[2:]), len(at)))


def _smaller(images: Clips, within_px: int) -> Clips:
    """Images (N, H, W, C) of at most `within_px`: the means of square fields."""
    n, height, width, channels = images.shape
    factor = -(-max(height, width) // within_px)
    if factor == 1:
        return images
    high, wide = height // factor, width // factor
    fields = images[:, : high * factor, : wide * factor].reshape(n, high, factor, wide, factor, channels)
    smaller: Clips = fields.mean((2, 4), dtype=np.float32).round().astype(np.uint8)
    return smaller


def played_bytes(frames: list[Image.Image], lengths_ms: list[int], most: int = PLAYED_BYTES) -> bytes:
    """An endless animated WebP of at most `most` bytes: without loss if that fits, else coarser, and then smaller."""
    for factor, options in COARSER:
        shrunk = frames if factor == 1 else [frame.reduce(factor) for frame in frames]
        last = (factor, options) == COARSER[-1]
        if not last and _foreseen_bytes(shrunk, options) > most:
            continue
        sink = io.BytesIO()
        save_webp(sink, shrunk, lengths_ms, **options)
        if last or len(sink.getvalue()) <= most:
            break
    return sink.getvalue()


def _foreseen_bytes(frames: list[Image.Image], options: dict[str, Any]) -> float:
    """Size of an animation, by three of its frames."""
    some = [frames[at] for at in {0, len(frames) // 2, len(frames) - 1}]
    total = 0
    for frame in some:
        sink = io.BytesIO()
        frame.save(sink, "WEBP", method=0, **options)
        total += len(sink.getvalue())
    return total / len(some) * len(frames)


def gif_bytes(preview: Preview) -> bytes:
    """A preview that plays as a GIF, for what shows no animated WebP: grey exactly, colours as 256 for each frame."""
    frames, begins_ms, end_ms = played(preview.content)
    if all(map(_is_grey, frames)):
        frames = [frame.convert("L") for frame in frames]
    factor = math.ceil(math.sqrt(len(frames) * frames[0].width * frames[0].height / GIF_PIXELS))
    shrunk = [frame.reduce(factor) for frame in frames] if factor > 1 else frames
    lengths = np.diff(np.round(np.array([*begins_ms, end_ms]) / 10)).astype(int) * 10  # the format has hundredths
    sink = io.BytesIO()
    shrunk[0].save(sink, "GIF", save_all=True, append_images=shrunk[1:], duration=lengths.tolist(), loop=0)
    return sink.getvalue()


def played(animation: bytes) -> tuple[list[Image.Image], list[int], int]:
    """The frames of an animated WebP as RGB, the milliseconds at which they begin, and the last one's end."""
    frames, ends_ms = [], [0]
    for frame in ImageSequence.Iterator(Image.open(io.BytesIO(animation))):
        frames.append(frame.convert("RGB"))
        ends_ms.append(ends_ms[-1] + int(frame.info["duration"]))
    return frames, ends_ms[:-1], ends_ms[-1]


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(picture), 2, 0)
    return bool((red == green).all() and (green == blue).all())
