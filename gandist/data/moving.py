"""Garments that move, made by code: a small set of clips whose classes are motions that can be seen and measured."""

from pathlib import Path

import numpy as np
from PIL import Image

from gandist.data.making import making, members, write_shard
from gandist.data.order import permutation
from gandist.data.sources import open_source
from gandist.distributed.randomness import philox
from gandist.media.animated import apng_bytes
from gandist.media.clip import EXTENSIONS, FPS

NAMES = ("left-right", "up-down", "circle", "spin", "zoom")
"""The classes."""
FRAMES = 16
"""One period of every motion, so that a clip can be repeated without a jump."""
PER_CLASS = 1000
SCALE = 0.6
"""Height and width of a garment's picture, as a share of the frame's."""
REACH = 0.2
"""How far a garment moves from the middle, as a share of the frame's size."""
ZOOM = 2.0
"""Factor between the largest and the smallest size of a garment that zooms."""
VERSION = 1
"""Changes with the clips."""
SHARD = 1000


def clip(garment: np.ndarray, label: int, drawn: np.ndarray, size: int) -> np.ndarray:
    """A clip (FRAMES, size, size) uint8 of a garment (H, W) uint8 that moves by a class.

    Args:
        drawn: (2,) in [0, 1): the motion's direction, and its reach. It begins in the middle of the frame, or at the
            bottom of a circle.
    """
    direction, reach = drawn.tolist()
    t = 2 * np.pi * np.arange(FRAMES) / FRAMES * (1 if direction < 0.5 else -1)
    still, far = np.zeros(FRAMES), REACH * size * (0.7 + 0.3 * reach)
    moves = NAMES[label]
    x = far * np.sin(t) if moves in ("left-right", "circle") else still
    y = far * (np.cos(t) if moves == "circle" else np.sin(t)) if moves in ("up-down", "circle") else still
    angle = t if moves == "spin" else still
    grown = ZOOM ** (0.5 * (0.7 + 0.3 * reach) * np.sin(t)) if moves == "zoom" else still + 1
    picture = Image.fromarray(garment)
    return np.stack([_placed(picture, size, *at) for at in zip(x, y, angle, grown, strict=True)])


def _placed(garment: Image.Image, size: int, x: float, y: float, angle: float, grown: float) -> np.ndarray:
    """A frame: the garment turned by `angle` radians, its middle x pixels right of and y below the frame's."""
    # Pillow asks for the map from the frame to the garment.
    factor = garment.width / (size * SCALE * grown)
    cos, sin, middle = np.cos(angle) * factor, np.sin(angle) * factor, size / 2
    ahead, below = middle + x, middle + y
    centre = garment.width / 2
    place = (cos, sin, centre - cos * ahead - sin * below, -sin, cos, centre + sin * ahead - cos * below)
    small = garment.transform((size, size), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
    return np.asarray(small)


def make_moving(source: Path, dest: Path, size: int) -> None:
    """Write the clips as shards of animated PNG, shuffled, to the new folder `dest`. `source`: the garments."""
    garments = open_source(str(source), dest.parent)
    n = PER_CLASS * len(NAMES)
    # The raw stream, which numpy keeps stable (unlike the methods of `Generator`).
    words = np.asarray(philox(0, "moving-fashion").bit_generator.random_raw(n * 3)).reshape(n, 3)
    drawn = (words[:, 1:] >> 11) * 2.0**-53
    which = (words[:, 0] % garments.n).astype(np.int64)
    order = permutation(philox(0, "moving-fashion-order").bit_generator, n)
    with making(str(dest)) as made:
        written = []
        for number, part in enumerate(np.split(order, range(SHARD, n, SHARD))):
            files = (
                (i, apng_bytes(clip(np.asarray(garments.read(which[i]).image), i // PER_CLASS, drawn[i], size), FPS))
                for i in part.tolist()
            )
            path = made.work / f"{number:06d}.tar"
            write_shard(path, ((f"{i:08d}", members(file, "apng", i // PER_CLASS, None)) for i, file in files))
            written.append(path)
        made.finish(written, class_names=NAMES, extensions=EXTENSIONS)
