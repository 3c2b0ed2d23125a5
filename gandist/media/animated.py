"""Clips as files: animated grids, strips of frames, films."""

import io

import numpy as np
from PIL import Image

from gandist.media.clip import library
from gandist.media.gallery import grid, png_bytes
from gandist.media.medium import Preview

STRIP_CLIPS, STRIP_FRAMES = 8, 16
"""Clips and frames of a strip at most."""


def webp_bytes(frames: list[Image.Image], fps: float) -> bytes:
    """An endless animation without loss; times are whole milliseconds, without drift."""
    ends = np.round(np.arange(len(frames) + 1) * 1000 / fps).astype(int)
    sink = io.BytesIO()
    frames[0].save(
        sink, "WEBP", save_all=True, append_images=frames[1:], duration=np.diff(ends).tolist(), loop=0, lossless=True
    )
    return sink.getvalue()


def apng_bytes(clip: np.ndarray, fps: float, merge: bool = True) -> bytes:
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


def preview_of(rows: np.ndarray, columns: int, fps: float) -> Preview:
    """Clips (N, F, H, W, C) uint8 as a grid that plays, and a strip: a clip a line, its frames side by side."""
    plays = [grid(rows[:, frame], columns) for frame in range(rows.shape[1])]
    at = np.linspace(0, rows.shape[1] - 1, min(STRIP_FRAMES, rows.shape[1])).round().astype(int)
    some = rows[:STRIP_CLIPS][:, at]
    strip = grid(some.reshape(-1, *rows.shape[2:]), len(at))
    return Preview(webp_bytes(plays, fps), ".webp", still=png_bytes(strip))


def mp4_bytes(clip: np.ndarray, fps: float) -> bytes:
    """A clip (F, H, W, C) uint8 as H.264; odd sizes get an extra row or column.

    Raises:
        GandistError: PyAV is not installed.
    """
    from fractions import Fraction

    av = library()
    frames = np.broadcast_to(clip, (*clip.shape[:3], 3))
    even = np.pad(frames, ((0, 0), (0, clip.shape[1] % 2), (0, clip.shape[2] % 2), (0, 0)), mode="edge")
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
        for frame in even:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        file.mux(stream.encode(None))
    return sink.getvalue()
