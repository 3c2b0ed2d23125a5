"""Prepare a clip for a shard: decoded, brought to a rate, cut into windows of frames, resized, encoded."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from gandist.errors import DataError
from gandist.media.clip import Frames, frames_of, library, rate_of, taken

ENCODINGS = ("apng", "webp", "mp4")
MOST = 1 << 18
"""Frames of one file at most: three hours at 24 a second."""
MOST_BYTES = 2 << 30
"""Of the frames of one clip, which are held in memory."""
RATES = (1 / 3600, 240.0)
"""Lowest and highest rate at which clips are written."""
STILL = "of one frame, which stands still"

Windows = Literal["all"] | int
"""What is taken of a clip: all windows that follow one another, or so many at random."""


class Footage(NamedTuple):
    """Format of each written clip.

    Attributes:
        frames: frames of each; None keeps all of a file.
        stride: take every stride-th frame.
        fps: frames a second to take of each file, before `stride`, by the times at which they are shown; None: its own
            frames, one after the other.
        windows: None takes the first `frames` frames, "all" one clip after the other, a number so many clips from
            places drawn by `seed` and the file's content.
        short: whether a file of fewer frames begins again ("loop"), or is refused ("refuse").
        size, crop, channels: as of pictures, see `media.picture.Picture`.
    """

    frames: int | None = None
    stride: int = 1
    fps: float | None = None
    windows: Windows | None = None
    short: Literal["loop", "refuse"] = "loop"
    size: int | None = None
    crop: str = "center"
    channels: int | None = None
    format: str = "apng"
    seed: int = 0

    def encoded(self, given: bytes | np.ndarray | Frames, note: Callable[[str], None]) -> list[bytes]:
        """The files that one file, or one folder of pictures, becomes: one, or as many as it has windows.

        Args:
            note: is told what was done, once for each clip or frame: "longer than 16 frames and cut".

        Raises:
            DataError: it is no whole clip, is too short, or has frames of several sizes.
        """
        clip = given.tobytes() if isinstance(given, np.ndarray) else given
        rate = (self.fps or rate_of(clip)) / self.stride
        if isinstance(clip, Frames):
            note("made of the pictures of a folder")
        return [self._written(window, rate, note) for window in self._windows(clip, note)]

    def encode_pair(self, input: bytes | np.ndarray, target: bytes | np.ndarray) -> tuple[bytes, bytes]:
        """Pairs are made of images alone."""
        raise DataError("--pairs and --pairs-halves are for images")

    def _taken(self, clip: bytes | Frames) -> Iterator[Image.Image]:
        """The frames at the rate and the stride."""
        # Pictures of a folder have no times: they are taken for as many a second as are wanted.
        fps = 0.0 if isinstance(clip, Frames) else self.fps or 0.0
        for number, picture in enumerate(taken(frames_of(clip), self.stride, fps)):
            if number == MOST:
                raise DataError(f"holds more than {MOST:,} frames; cut it, or take fewer: --fps or --stride")
            yield picture

    def _prepared(self, clip: bytes | Frames) -> Iterator[np.ndarray]:
        """The same as (H, W) or (H, W, 3) uint8; an animation's frame that is held is the same object each time."""
        before: tuple[Image.Image, np.ndarray] | None = None
        for picture in self._taken(clip):
            if before is None or picture is not before[0]:
                before = picture, self._fitted(picture)
            yield before[1]

    def _fitted(self, picture: Image.Image) -> np.ndarray:
        if self.channels is not None:
            picture = picture.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None and picture.size != (self.size, self.size):
            shape = (self.size, self.size)
            if self.crop == "center":
                picture = ImageOps.fit(picture, shape, Image.Resampling.LANCZOS)
            else:
                picture = picture.resize(shape, Image.Resampling.LANCZOS)
        return np.asarray(picture)

    def _windows(self, clip: bytes | Frames, note: Callable[[str], None]) -> Iterator[list[np.ndarray]]:
        frames = self._prepared(clip)
        if self.frames is None:
            yield self._whole(_held_at_once(frames), note)
            return
        if isinstance(self.windows, int):
            starts, n = self._drawn(clip, self.windows, note)
            if n >= self.frames:
                yield from _at(frames, starts, self.frames)
                return
        first = _held_at_once(islice(frames, self.frames))
        yield self._whole(first, note)
        if self.windows is None:
            if next(frames, None) is not None:
                note(f"longer than {self.frames} frames and cut")
            return
        while len(window := _held_at_once(islice(frames, self.frames))) == self.frames:
            yield window
        for _ in window:
            note("frames that fill no window left out")

    def _whole(self, window: list[np.ndarray], note: Callable[[str], None]) -> list[np.ndarray]:
        """A window with its beginning again at its end, if it is too short."""
        if not window:
            raise DataError("holds no frame")
        if self.frames is not None and len(window) < self.frames:
            if self.short == "refuse":
                raise DataError(f"holds {len(window)} frames of {self.frames}; leave out --short refuse to repeat them")
            if len(window) > 1:
                note(f"shorter than {self.frames} frames and begun again")
        if all(frame is window[0] for frame in window):
            note(STILL)
        return [window[number % len(window)] for number in range(self.frames or len(window))]

    def _drawn(self, clip: bytes | Frames, n: int, note: Callable[[str], None]) -> tuple[list[int], int]:
        """The first frames of n different windows, in order, and the number of all frames."""
        count = sum(1 for _ in self._taken(clip))
        places = max(0, count - (self.frames or 0) + 1)
        content = clip if isinstance(clip, bytes) else b"".join(clip.read(i) for i in (0, clip.n - 1))
        digest = hashlib.sha256(f"{self.seed} {count} ".encode() + content).digest()
        # Raw words, which numpy keeps stable
        words = np.random.Philox(key=int.from_bytes(digest[:16])).random_raw(places)
        if 0 < places < n:
            note(f"of fewer than {n} different windows")
        return sorted(np.argsort(words, kind="stable")[:n].tolist()), count

    def _written(self, window: list[np.ndarray], rate: float, note: Callable[[str], None]) -> bytes:
        # Encoders come with torch, which takes a second to import
        from gandist.media.animated import apng_bytes, mp4_bytes, webp_bytes

        colours = {frame.ndim for frame in window}
        if len(colours) > 1:
            window = [np.asarray(Image.fromarray(frame).convert("RGB")) for frame in window]
        if len(sizes := dict.fromkeys(frame.shape[:2] for frame in window)) > 1:
            said = " and ".join(f"{width} x {height}" for height, width in list(sizes)[:2])
            raise DataError(f"has frames of {said} pixels; pass --size to make them alike")
        fps = min(max(rate, RATES[0]), RATES[1])
        if self.format == "webp":
            if _held(window):
                note("of frames that are all held, which WebP merges (--format apng keeps them)")
            return webp_bytes([Image.fromarray(frame) for frame in window], fps)
        clip = np.stack(window)
        if self.format == "apng":
            return apng_bytes(clip, fps, merge=False)
        if clip.shape[1] % 2 or clip.shape[2] % 2:
            note("of an odd size, to which MP4 adds a row or a column")
        return mp4_bytes(clip if clip.ndim == 4 else clip[..., None], fps)


def check(form: Footage) -> str:
    """What is wrong with the options; empty if nothing is.

    Raises:
        GandistError: a library is missing.
    """
    if form.frames is None and (form.windows is not None or form.short == "refuse"):
        return f"{'--windows' if form.windows is not None else '--short'} needs --frames, the length of a clip"
    if form.format == "mp4":
        library()
    return ""


def _at(frames: Iterable[np.ndarray], starts: list[int], n: int) -> Iterator[list[np.ndarray]]:
    """The windows of n frames that begin at `starts`, which are in order and may overlap."""
    open_: list[list[np.ndarray]] = []
    for number, frame in enumerate(frames):
        if number in starts:
            open_.append([])
        for window in open_:
            window.append(frame)
        if open_ and len(open_[0]) == n:
            yield open_.pop(0)


def _held_at_once(frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    held, n_bytes = [], 0
    for frame in frames:
        n_bytes += frame.nbytes
        if n_bytes > MOST_BYTES:
            raise DataError(f"decodes to more than {MOST_BYTES >> 30} GiB; pass --frames, or --size")
        held.append(frame)
    return held


def _held(window: list[np.ndarray]) -> bool:
    """Whether each frame is followed or preceded by an equal one, so that all would be merged."""
    same = [np.array_equal(one, other) for one, other in pairwise(window)]
    return len(window) > 1 and all(map(any, zip([False, *same], [*same, False], strict=True)))
