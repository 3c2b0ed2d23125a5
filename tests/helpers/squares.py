"""Small sets of real shards that hold clips: squares that move, each class in a direction of its own."""

from pathlib import Path

import numpy as np

from gandist.data.index import Index
from gandist.data.making import making, members, write_shard
from gandist.media.animated import apng_bytes
from gandist.media.clip import EXTENSIONS, FPS

FRAMES, SIZE = 4, 32
CLIPS = {"medium": "video", "channels": 1, "options": {"frames": FRAMES}}
"""Of a configuration's section `data`."""
DIRECTIONS = ((0, 1), (1, 0), (1, 1))
"""Down and right, of each class."""


def square(number: int, label: int, frames: int = FRAMES) -> np.ndarray:
    """Clip `number` of a square of its own size, brightness, place and speed: (frames, SIZE, SIZE, 1) uint8."""
    chance = np.random.default_rng(number)
    size, level, speed = chance.integers(8, 14), chance.integers(120, 256), chance.integers(2, 7)
    top, left = chance.integers(0, SIZE, 2)
    down, right = DIRECTIONS[label]
    picture = np.zeros((SIZE, SIZE, 1), np.uint8)
    picture[:size, :size] = level
    places = [(top + t * speed * down, left + t * speed * right) for t in range(frames)]
    return np.stack([np.roll(picture, place, (0, 1)) for place in places])


def make_squares(folder: Path, n: int = 40, *, classes: int = 2, labels: bool = True) -> Index:
    """n clips in one shard in `folder`/squares; clip i is of class i % classes."""

    def sample(i: int) -> tuple[str, dict[str, bytes]]:
        clip = square(i, i % classes)
        return f"{i:06d}", members(apng_bytes(clip, FPS), "apng", i % classes if labels else -1, None)

    with making(str(folder / "squares")) as made:
        path = made.work / "000000.tar"
        write_shard(path, map(sample, range(n)))
        names = [f"way {label}" for label in range(classes)] if labels else ()
        return made.finish([path], class_names=names, workers=1, extensions=EXTENSIONS)
