"""Encoded bytes -> the frames of a clip, upright and in order. Accepts a fixed list of formats, never a playlist.

Animations (APNG, GIF, WebP) are read by Pillow, films (MP4, WebM, AVI, ...) by PyAV, which `gandist[video]` installs.
Frames are decoded one after the other, no further than needed, so that hours of film take little memory.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gandist.errors import DataError, GandistError
from gandist.media.containers import check_whole, kind_of, timing
from gandist.media.decode import fitted
from gandist.media.picture import FORMATS, TURNS
from gandist.media.pixels import MAX_PIXELS, open_picture, orientation, plain

EXTENSIONS = ("apng", "mp4", "webm", "avi", "mov", "mkv", "gif", "webp", "png")
"""Extensions of files in shards that can be decoded. The last two are also those of pictures."""
ANIMATIONS = ("png", "gif", "webp")
FPS = 8
"""Frames per second of clips that do not say: as samples are played where the set's rate is not asked for."""
FRAME_PIXELS = MAX_PIXELS >> 3
"""Larger frames are refused as decompression bombs; those of films in 8K pass."""
CLIP_PIXELS = MAX_PIXELS << 4
"""More pixels are not decoded for one sample: 4,000 frames in Full HD."""
LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""The decoders of WebM that read transparency."""
UNSPECIFIED = 2
"""FFmpeg's number of colours that a film does not name."""
LARGE = 720
"""From this height on, films that do not name their colours are taken for HDTV's (BT.709), as players do."""


class Shown(NamedTuple):
    """A frame, and the seconds from the clip's beginning at which it is shown."""

    begins: float
    ends: float
    picture: Image.Image
    """Grey or RGB."""


class Frames(NamedTuple):
    """A clip as numbered pictures, a file each."""

    n: int
    read: Callable[[int], bytes]
    """The file of frame i."""


class Filled(NamedTuple):
    """What `decode` found."""

    frames: int
    """Frames filled, at least 1."""
    more: bool
    """Whether the clip goes on."""
    still: bool
    """Whether the file holds one frame."""


def frames_of(given: bytes | Frames) -> Iterator[Shown]:
    """The frames of a clip, upright; transparency becomes white.

    An animation's frame that is shown n times as long as its shortest counts n times, since encoders merge equal
    frames; it is the same object each time. Pictures that lie in a folder are shown at `FPS`.

    Raises:
        DataError: it is no whole clip; some faults are found on the way.
    """
    if isinstance(given, Frames):
        yield from _pictures(given)
        return
    kind = kind_of(given)
    if kind in ANIMATIONS:
        yield from _animation(given, kind)
    else:
        yield from _film(given, kind)


def rate_of(given: bytes | Frames) -> float:
    """The mean number of frames a second that `frames_of` gives. Raises as that does."""
    if isinstance(given, Frames):
        return FPS
    kind = kind_of(given)
    if kind in ANIMATIONS:
        return 1000 / _shortest(timing(given, kind).shown_ms)
    av = library()
    try:
        with av.open(io.BytesIO(given), format=kind) as file:
            return float(_stream(file).average_rate or FPS)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"not a whole {kind} film: {error}") from error


def decode(data: bytes, out: np.ndarray, *, stride: int = 1, fps: float = 0) -> Filled:
    """Decode into `out` (F, R, R, C) uint8: the central square of every `stride`-th frame, resized.

    Args:
        fps: take frames at this rate by their times; 0: one after the other.

    Raises:
        DataError: the bytes are not a whole clip, hold no frame, or too many and too large ones.
    """
    _, resolution, _, channels = out.shape
    filled, before, different = 0, None, 0
    for picture in taken(_bounded(frames_of(data)), stride, fps):
        if filled == len(out):
            return Filled(filled, True, different == 1)
        if picture is before:
            out[filled] = out[filled - 1]
        else:
            out[filled] = fitted(picture, resolution, channels)
            different += 1
        before, filled = picture, filled + 1
    if not filled:
        raise DataError("holds no frame")
    return Filled(filled, False, different == 1)


def taken(frames: Iterator[Shown], stride: int = 1, fps: float = 0) -> Iterator[Image.Image]:
    """Every `stride`-th frame, after they are brought to `fps` frames a second, if not 0."""
    count = 0
    for _, ends, picture in frames:
        if not fps:
            if count % stride == 0:
                yield picture
            count += 1
            continue
        while count * stride / fps < ends - 1e-6:
            yield picture
            count += 1


def _bounded(frames: Iterator[Shown]) -> Iterator[Shown]:
    pixels, before = 0, None
    for shown in frames:
        if shown.picture is not before:
            pixels += shown.picture.width * shown.picture.height
        if pixels > CLIP_PIXELS:
            raise DataError(f"decodes to more than {CLIP_PIXELS:,} pixels; make it smaller: gandist.pack --size")
        before = shown.picture
        yield shown


def _pictures(given: Frames) -> Iterator[Shown]:
    for number in range(given.n):
        data = given.read(number)
        try:
            with open_picture(data, FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1 and image.format != "TIFF":
                    raise DataError(f"frame {number} is an animation itself; put each animation outside such folders")
                picture = _upright(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"frame {number} is no whole picture: {error}") from error
        yield Shown(number / FPS, (number + 1) / FPS, picture)


def _upright(image: Image.Image) -> Image.Image:
    picture = plain(image)
    turn = TURNS.get(orientation(image))
    return picture if turn is None else picture.transpose(turn)


def _shortest(shown_ms: tuple[float, ...]) -> float:
    return min(each or 1000 / FPS for each in shown_ms)


def _animation(data: bytes, kind: str) -> Iterator[Shown]:
    shown_ms, hidden = timing(data, kind)
    shortest, begins = _shortest(shown_ms), 0.0
    for picture, shown in zip(_decoded(data, kind, len(shown_ms), hidden), shown_ms, strict=True):
        lasts = shown or 1000 / FPS
        times = max(1, round(lasts / shortest))
        for number in range(times):
            yield Shown(
                (begins + number * lasts / times) / 1000, (begins + (number + 1) * lasts / times) / 1000, picture
            )
        begins += lasts


def _decoded(data: bytes, kind: str, n: int, hidden: bool) -> Iterator[Image.Image]:
    """The n pictures of an animation, one at a time."""
    try:
        with open_picture(data, (kind.upper(),)) as image:
            _check_size(*image.size)
            for number in range(n):
                image.seek(number + hidden)
                image.load()
                yield _upright(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"not a whole {kind}: {error}") from error


def _check_size(width: int, height: int) -> None:
    if width * height > FRAME_PIXELS:
        raise DataError(f"has frames of {width} x {height} pixels, more than {FRAME_PIXELS:,}; make them smaller")


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


def _film(data: bytes, kind: str) -> Iterator[Shown]:
    """The frames of a film, each shown until the next one begins."""
    av = library()
    check_whole(data, kind)
    last: Image.Image | None = None
    first = begins = ends = 0.0
    try:
        with av.open(io.BytesIO(data), format=kind) as file:
            stream = _stream(file)
            rate, wide = float(stream.average_rate or FPS), float(stream.sample_aspect_ratio or 1)
            for frame in _frames(av, file, stream):
                time = ends if frame.time is None else float(frame.time)
                if last is None:
                    first = begins = time
                else:
                    time = max(time, begins)
                    yield Shown(begins - first, time - first, last)
                    begins = time
                lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / rate
                ends, last = begins + lasts, _picture(av, frame, wide)
            if last is not None:
                _check_length(file, stream, ends, rate, kind)
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"not a whole {kind} film: {error}") from error
    if last is not None:
        yield Shown(begins - first, ends - first, last)


def _stream(file: Any) -> Any:
    """A film's pictures, but no cover of a sound."""
    found = [each for each in file.streams.video if not each.disposition & each.disposition.attached_pic]
    if not found:
        raise DataError("holds no pictures, only sound" if file.streams.audio else "holds no pictures")
    context = found[0].codec_context
    if context is None:
        raise DataError("is encoded in a way that is not read; encode it again as H.264")
    _check_size(context.width, context.height)
    return found[0]


def _frames(av: Any, file: Any, stream: Any) -> Iterator[Any]:
    """A film's decoded frames, in the order in which they are shown."""
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in LIBVPX:
        decoder = av.CodecContext.create(LIBVPX[decoder.name], "r")
        decoder.extradata = stream.codec_context.extradata
    decoder.thread_count = 1  # samples are decoded beside one another
    decoder.options = {"max_pixels": str(FRAME_PIXELS)}
    for packet in file.demux(stream):
        if packet.is_corrupt:
            raise DataError("is cut off or damaged: a frame is not whole")
        for frame in decoder.decode(packet if packet.size else None):
            if frame.is_corrupt:
                raise DataError("is damaged: a frame cannot be decoded")
            if frame.time_base is None:
                frame.time_base = stream.time_base
            yield frame


def _check_length(file: Any, stream: Any, ends: float, rate: float, kind: str) -> None:
    """Refuse a film of which less was decoded than it announces.

    Args:
        ends: when the last frame ends, in seconds.
    """
    announced = None
    said = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if said:
        announced = 3600 * int(said[1]) + 60 * int(said[2]) + float(said[3])
    elif kind == "mp4" and stream.duration:  # of what its edit list takes; an AVI counts frames that it repeats
        announced = float((stream.duration + min(0, stream.start_time or 0)) * stream.time_base)
    elif kind == "matroska" and len(file.streams) == 1 and file.duration:
        announced = file.duration / 1e6 + max(0.0, (file.start_time or 0) / 1e6)
    if announced is not None and announced - ends > max(0.25, 2.5 / rate):
        raise DataError(f"is damaged: its frames last {ends:.2f} s, of {announced:.2f} s that it announces")


def _picture(av: Any, frame: Any, wide: float) -> Image.Image:
    """A frame, turned as its display matrix says, on white.

    Args:
        wide: a pixel's width, as a share of its height.
    """
    kind = "rgb24"
    if frame.format.name.startswith("gray"):
        kind = "gray"
    elif any(part.is_alpha for part in frame.format.components):
        kind = "rgba"
    space = None
    if frame.colorspace == UNSPECIFIED and frame.height >= LARGE:
        space = av.video.reformatter.Colorspace.ITU709
    width = min(max(1, round(frame.width * wide)), FRAME_PIXELS // frame.height)
    pixels = frame.reformat(width=width, format=kind, src_colorspace=space).to_ndarray()
    with suppress(KeyError):
        pixels = _turned(pixels, np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32))
    return plain(Image.fromarray(np.ascontiguousarray(pixels)))


def _turned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) turned or mirrored by a display matrix (9,), of which x' = a x + c y, y' = b x + d y
    (ISO/IEC 14496-12)."""
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
