"""Pictures as stripes of rows (rows, W, C) uint8, from top to bottom: resized, given their alpha, written as PNG."""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gandist.storage.atomic import written_atomically

ROWS = 64
"""Rows that are resized, filtered and compressed at once."""
LOBES = 3
"""Of Lanczos' window, on each side; the bicubic one has fewer."""
COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
"""Of a PNG, by channels (W3C Portable Network Graphics 1.2, section 11.2.2)."""


def scaled(stripes: Iterable[np.ndarray], size: tuple[int, int], target: tuple[int, int]) -> Iterator[np.ndarray]:
    """Resized by Lanczos' filter, as Pillow resizes the whole.

    Args:
        size: height and width of the stripes together.
        target: those of the result.
    """
    if size == target:
        yield from stripes
        return
    ratio = size[0] / target[0]
    source, held, first = iter(stripes), np.empty((0, 0, 0), np.uint8), 0
    for top in range(0, target[0], ROWS):
        rows = min(ROWS, target[0] - top)
        begin, end = _needed(top, rows, ratio, size[0])
        held, first = held[max(0, begin - first) :], max(first, begin)
        parts = [held] if held.size else []
        have = first + len(held)
        while have < end:
            part = next(source)
            parts.append(part)
            have += len(part)
        held = np.concatenate(parts)
        box = (0, top * ratio - begin, size[1], min((top + rows) * ratio, size[0]) - begin)
        yield _resized(held[: end - begin], (target[1], rows), Image.Resampling.LANCZOS, box)


def with_alpha(stripes: Iterable[np.ndarray], alpha: np.ndarray, target: tuple[int, int]) -> Iterator[np.ndarray]:
    """Stripes of height and width `target` together, with alpha (h, w) as their last channel, resized by bicubic."""
    top, (height, width) = 0, alpha.shape
    for stripe in stripes:
        rows = len(stripe)
        if (height, width) == target:
            part = alpha[top : top + rows, :, None]
        else:
            ratio = height / target[0]
            begin, end = _needed(top, rows, ratio, height)
            box = (0, top * ratio - begin, width, min((top + rows) * ratio, height) - begin)
            part = _resized(alpha[begin:end, :, None], (target[1], rows), Image.Resampling.BICUBIC, box)
        yield np.concatenate([stripe, part], axis=2)
        top += rows


def _needed(top: int, rows: int, ratio: float, height: int) -> tuple[int, int]:
    """First row of the source, and the one after the last, that rows of a result depend on."""
    support = math.ceil(LOBES * max(ratio, 1)) + 1
    return max(0, math.floor(top * ratio) - support), min(height, math.ceil((top + rows) * ratio) + support)


def _resized(
    pixels: np.ndarray, size: tuple[int, int], by: Image.Resampling, box: tuple[float, float, float, float]
) -> np.ndarray:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize(size, by, box=box)).reshape(size[1], size[0], pixels.shape[2])


def write_png(
    path: Path, stripes: Iterable[np.ndarray], size: tuple[int, int], channels: int, profile: bytes = b""
) -> None:
    """Write a PNG that never lies in memory whole; the file appears when it is complete.

    Args:
        size: height and width.
        channels: 1 to 4: grey, grey and alpha, RGB, RGBA.
        profile: an ICC profile.
    """
    with written_atomically(path) as scratch, scratch.open("wb") as file:

        def chunk(name: bytes, data: bytes) -> None:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, COLOUR_TYPE[channels], 0, 0, 0))
        if profile:
            chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
        packer = zlib.compressobj(6)
        above = np.zeros(size[1] * channels, np.uint8)
        for stripe in stripes:
            for first in range(0, len(stripe), ROWS):
                rows = stripe[first : first + ROWS].reshape(-1, size[1] * channels)
                chunk(b"IDAT", packer.compress(_filtered(rows, above, channels).tobytes()))
                above = rows[-1]
        chunk(b"IDAT", packer.flush())
        chunk(b"IEND", b"")


def _filtered(rows: np.ndarray, above: np.ndarray, channels: int) -> np.ndarray:
    """Rows (n, bytes) as a PNG has them, (n, 1 + bytes): each by the filter that leaves the smallest numbers."""
    up = np.vstack([above, rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, channels:], corner[:, channels:] = rows[:, :-channels], up[:, :-channels]
    a, b, c = left.astype(np.int16), up.astype(np.int16), corner.astype(np.int16)
    near_a, near_b, near_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((near_a <= near_b) & (near_a <= near_c), left, np.where(near_b <= near_c, up, corner))
    filters = {0: rows, 1: rows - left, 2: rows - up, 4: rows - paeth}
    numbers = np.array(list(filters), np.uint8)
    candidates = np.stack(list(filters.values()))
    best = np.minimum(candidates, 0 - candidates).sum(axis=2, dtype=np.int64).argmin(axis=0)
    return np.hstack([numbers[best][:, None], candidates[best, np.arange(len(rows))]])
