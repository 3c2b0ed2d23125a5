"""A picture in tiles that overlap and are blended, row of tiles by row of tiles.

A tile's edge is a picture's edge to a convolution, so that results near it differ. Tiles overlap by twice the network's
radius and the band in which one fades into the next: there all that is blended is equal to a run on the whole picture.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.apply.network import Network
from gandist.media.gallery import as_uint8

BAND = 16
"""Pixels of the input over which a tile fades into the next."""
NETWORK_BYTES = 600_000_000
"""Memory that a tile may take inside the network, by default."""
COPIES = 2
"""The network's memory, in multiples of `Network.pixel_bytes`: there are copies within layers, and between them."""
MAX_SIDE = 2048
"""Of a tile's result, for rows of results are held, too."""
ROWS = 64
"""Rows that are converted at once."""


class Tiling(NamedTuple):
    """Sizes in pixels of the input, multiples of the network's."""

    side: int
    """Height and width of a tile; one may be larger if the picture is smaller along the other."""
    area: int
    """Maximum number of pixels of a tile; 0 for none beyond `side`."""
    overlap: int
    """Of a tile and the next, at least."""
    exact: bool
    """Whether the result is that of the whole picture."""


def tiling(network: Network, tile: int | None = None) -> Tiling:
    """The tiles for a network.

    Args:
        tile: pixels by which a tile goes beyond its overlap; None to choose the side by memory.
    """
    full = None if network.radius is None else _up(2 * network.radius + BAND, network.multiple)
    if tile is not None:
        step = max(_up(tile, network.multiple), network.smallest)
        overlap = _up(max(step // 2, BAND), network.multiple) if full is None else full
        return Tiling(step + overlap, 0, overlap, full is not None)
    by_memory = int(math.sqrt(NETWORK_BYTES / COPIES / network.pixel_bytes)) // network.multiple * network.multiple
    most = MAX_SIDE // network.factor // network.multiple * network.multiple
    side = max(min(by_memory, most), network.smallest, 2 * _up(BAND, network.multiple))
    if full is not None and full <= side // 2:
        return Tiling(side, side**2, full, True)
    overlap = _up(side // (4 if full is None else 2), network.multiple)
    return Tiling(side, side**2, min(overlap, side - network.multiple), False)


def restored(
    network: Network,
    pixels: np.ndarray,
    hole: np.ndarray | None,
    cut: Tiling | None,
    tick: Callable[[int], None] = lambda tiles: None,
) -> Iterator[np.ndarray]:
    """G's picture in stripes (rows, factor W, C) uint8, from top to bottom; outside of a hole the input's own pixels.

    Args:
        pixels: (H, W, C) uint8.
        hole: (H, W) bool; tiles without any of it are left out.
        cut: None for the whole picture at once.
        tick: hears after each tile how many there are.
    """
    height, width, channels = pixels.shape
    padded, padded_hole = pad(pixels, network), None if hole is None else pad(hole, network)
    down, across = (
        _Axis.of(size, cut and _side(size, other, cut, network), 0 if cut is None else cut.overlap, network)
        for size, other in (padded.shape[:2], padded.shape[1::-1])
    )
    f, tiles = network.factor, len(down.starts) * len(across.starts)
    canvas = torch.zeros(channels, f * down.side, f * padded.shape[1])
    for i, top in enumerate(down.starts):
        for j, left in enumerate(across.starts):
            at = slice(top, top + down.side), slice(left, left + across.side)
            part = None if padded_hole is None else padded_hole[at]
            if part is None or part.any():
                made = network(padded[at], part)
                if tiles > 1:
                    made *= down.weights[i][:, None] * across.weights[j]
                canvas[:, :, f * left : f * (left + across.side)] += made
            tick(tiles)
        done = f * (down.starts[i + 1] - top) if i + 1 < len(down.starts) else f * (height - top)
        for first in range(0, done, ROWS):
            last = min(first + ROWS, done)
            stripe = as_uint8(canvas[:, first:last, : f * width]).permute(1, 2, 0).numpy()
            if hole is not None:
                rows = slice(top + first, top + last)
                stripe = np.where(hole[rows, :, None], stripe, pixels[rows])
            yield stripe
        kept = canvas.shape[1] - done
        for first in range(0, kept, done):  # in place, where source and target overlap
            last = min(first + done, kept)
            canvas[:, first:last] = canvas[:, done + first : done + last]
        canvas[:, max(kept, 0) :] = 0


def pad(picture: np.ndarray, network: Network) -> np.ndarray:
    """Mirrored at the right and the bottom, to a size that the network takes."""
    sides = [max(_up(size, network.multiple), network.smallest) for size in picture.shape[:2]]
    margins = [(0, side - size) for side, size in zip(sides, picture.shape, strict=False)]
    if not any(after for _, after in margins):
        return picture
    return np.pad(picture, margins + [(0, 0)] * (picture.ndim - 2), mode="reflect")


class _Axis(NamedTuple):
    """Where tiles begin along one axis, and how much each counts there."""

    side: int
    starts: list[int]
    weights: list[Tensor]
    """(factor side,) for each tile; they sum to 1 everywhere."""

    @classmethod
    def of(cls, size: int, side: int | None, overlap: int, network: Network) -> "_Axis":
        f = network.factor
        if side is None or size <= side:
            return cls(size, [0], [torch.ones(f * size)])
        step = (side - overlap) // network.multiple * network.multiple
        starts = [*range(0, size - side, step), size - side]
        band = min(BAND, overlap / 2)
        seams = [(before + side + after) / 2 for before, after in pairwise(starts)]
        weights = []
        for i, start in enumerate(starts):
            at = start + (torch.arange(f * side, dtype=torch.float64) + 0.5) / f
            begun = _risen(at, seams[i - 1], band) if i else torch.ones_like(at)
            ended = _risen(at, seams[i], band) if i < len(seams) else torch.zeros_like(at)
            weights.append((begun - ended).float())
        return cls(side, starts, weights)


def _side(size: int, other: int, cut: Tiling, network: Network) -> int:
    """A tile's length along an axis; `other` is the picture's size along the other one."""
    longer = cut.area // min(other, cut.side) // network.multiple * network.multiple
    return min(size, max(cut.side, longer))


def _risen(at: Tensor, seam: float, band: float) -> Tensor:
    """From 0 to 1 around a seam, smoothly."""
    t = ((at - seam) / band + 0.5).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
