"""Small clips whose frames can be told apart, and files of them."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image


def clip(n: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frames (n, height, width, 3) uint8: frame k has the level 12 k + 20, but the upper left quarter is red."""
    frames = np.empty((n, height, width, 3), np.uint8)
    frames[:] = (np.arange(n) * 12 + 20).clip(max=255).reshape(n, 1, 1, 1)
    frames[:, : height // 2, : width // 2] = (255, 0, 0)
    return frames


def levels(frames: np.ndarray) -> list[int]:
    """Which frames of `clip` these are (F, H, W, C), by their lower right quarter."""
    _, height, width, _ = frames.shape
    corner = frames[:, height // 2 + 2 :, width // 2 + 2 :].mean((1, 2, 3))
    return [int(each) for each in np.round((corner - 20) / 12)]


def film(
    frames: np.ndarray,
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: float = 8,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    sound: bool = False,
) -> bytes:
    """A film of frames (n, H, W, 3 or 4), shown at `times` in seconds if they are given."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container, options=options or {}) as file:
        stream: Any = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.options = {"crf": "4"}
        tone: Any = file.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, frame in enumerate(frames):
            kind = "rgba" if frame.shape[2] == 4 else "rgb24"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), kind).reformat(format=pixels)
            if times is not None:
                picture.pts, picture.time_base = round(times[number] * 1000), Fraction(1, 1000)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 8000
            file.mux(tone.encode(silence))
            file.mux(tone.encode(None))
    return sink.getvalue()


def animation(
    frames: np.ndarray | Sequence[Image.Image], kind: str, durations: Sequence[float] | float = 125, **options: Any
) -> bytes:
    """Frames (n, H, W, 3) as an animated PNG, GIF or WEBP without loss, shown for `durations` in milliseconds."""
    pictures = [each if isinstance(each, Image.Image) else Image.fromarray(each) for each in frames]
    sink = io.BytesIO()
    given = list(durations) if isinstance(durations, Sequence) else durations
    without_loss = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(
        sink, kind, save_all=True, append_images=pictures[1:], duration=given, loop=0, **without_loss, **options
    )
    return sink.getvalue()
