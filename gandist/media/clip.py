"""Encoded bytes -> the frames of a clip, upright and in order. Accepts a fixed list of formats, never a playlist.

Animations (APNG, GIF, WebP) are read by Pillow, films (MP4, WebM, AVI, ...) by PyAV, which `gandist[video]` installs.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from gandist.errors import DataError, GandistError
from gandist.media.decode import fitted
from gandist.media.pixels import open_picture, plain

EXTENSIONS = ("apng", "mp4", "webm", "avi", "mov", "mkv", "gif", "webp", "png")
"""Extensions of files in shards that can be decoded. The last two are also those of pictures."""
ANIMATIONS = ("PNG", "GIF", "WEBP")
FPS = 8
"""Frames per second of clips that do not say: as samples are played where the set's rate is not asked for."""


def frames_of(data: bytes) -> Iterator[tuple[float, Image.Image]]:
    """The frames with the seconds at which they begin, upright, grey or RGB; transparency becomes white.

    Raises:
        DataError: the bytes are not a whole clip.
    """
    container = _container(data)
    yield from _film(data, container) if container else _animation(data)


def decode(data: bytes, out: np.ndarray, *, stride: int = 1, fps: float = 0) -> int:
    """Decode into `out` (F, R, R, C) uint8: the central square of every `stride`-th frame, resized.

    Args:
        fps: take frames at this rate by their times; 0: one after the other.

    Returns:
        Frames filled, at least 1, at most F.

    Raises:
        DataError: the bytes are not a whole clip, or hold no frame.
    """
    _, resolution, _, channels = out.shape
    filled = 0
    for picture in _taken(frames_of(data), stride, fps):
        if filled == len(out):
            break
        out[filled] = fitted(picture, resolution, channels)
        filled += 1
    if not filled:
        raise DataError("holds no frame")
    return filled


def _taken(frames: Iterator[tuple[float, Image.Image]], stride: int, fps: float) -> Iterator[Image.Image]:
    """Every `stride`-th frame, after they are brought to `fps` frames a second."""
    count = 0
    shown: Image.Image | None = None
    for begins, picture in frames:
        if not fps:
            if count % stride == 0:
                yield picture
            count += 1
            continue
        # Until this frame begins, the one before it is shown
        while shown is not None and count * stride / fps < begins - 1e-6:
            yield shown
            count += 1
        shown = picture
    if fps and shown is not None:
        yield shown


def _animation(data: bytes) -> Iterator[tuple[float, Image.Image]]:
    """Frames of an APNG, GIF or WebP; one that is shown n times as long as the shortest counts n times, since encoders
    merge equal frames."""
    try:
        with open_picture(data, ANIMATIONS) as image:
            n = getattr(image, "n_frames", 1)
            pictures, durations = [], []
            for number in range(n):
                image.seek(number)
                image.load()
                pictures.append(plain(image))
                durations.append(float(image.info.get("duration", 0)) or 1000 / FPS)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"not a whole animated png, gif or webp: {error}") from error
    shortest, begins = min(durations), 0.0
    for picture, duration in zip(pictures, durations, strict=True):
        times = max(1, round(duration / shortest))
        for number in range(times):
            yield (begins + number * duration / times) / 1000, picture
        begins += duration


def _container(data: bytes) -> str:
    """The name of a film's container by its first bytes; empty for an animation."""
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else ""


def library() -> Any:
    """PyAV.

    Raises:
        GandistError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise GandistError(f"films need PyAV: {error}; pip install 'gandist[video]'") from error
    return av


def _film(data: bytes, container: str) -> Iterator[tuple[float, Image.Image]]:
    av = library()
    try:
        with av.open(io.BytesIO(data), format=container) as file:
            if not file.streams.video:
                raise DataError("holds no pictures")
            for frame in file.decode(file.streams.video[0]):
                turned = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                yield float(frame.time or 0.0), Image.fromarray(np.ascontiguousarray(turned))
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"not a whole {container} film: {error}") from error
