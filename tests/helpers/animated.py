"""Clips of squares that move, a run on them, and animations as they are decoded."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from gandist.config.run import RunConfig
from gandist.data.cache import ShardCache
from gandist.data.index_files import write_index
from gandist.data.indexing import index_shards
from gandist.data.making import members, write_shard
from gandist.media.animated import apng_bytes
from gandist.media.clip import EXTENSIONS
from tests.helpers.train_on_ranks import tiny


def moving(n: int, frames: int, size: int, channels: int = 1) -> np.ndarray:
    """Clips (n, frames, size, size, channels) uint8: a square, lighter in each clip, that goes from left to right."""
    clips = np.zeros((n, frames, size, size, channels), np.uint8)
    side = size // 4
    for clip in range(n):
        for frame in range(frames):
            left = frame * (size - side) // (frames - 1)
            clips[clip, frame, side : 2 * side, left : left + side] = 55 + 200 * (clip + 1) // n
    return clips


def decoded(data: bytes) -> tuple[list[np.ndarray], list[int], Image.Image]:
    """RGB frames of an animation, their milliseconds, and the opened file."""
    image = Image.open(io.BytesIO(data))
    frames, lengths_ms = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(np.asarray(frame.convert("RGB")))
        lengths_ms.append(int(frame.info["duration"]))
    return frames, lengths_ms, image


def clip_set(folder: Path, n: int = 20) -> str:
    """A set of n grey clips of 32 px and 4 frames in two classes, in one shard; its folder."""
    folder.mkdir(parents=True)
    shard = folder / "000000.tar"
    clips = enumerate(moving(n, 4, 32))
    write_shard(shard, ((f"{i:06d}", members(apng_bytes(clip, 8), "apng", i % 2, None)) for i, clip in clips))
    cache = ShardCache(folder.parent / "shards", 1 << 30)
    write_index(index_shards([str(shard)], cache, base=str(folder), extensions=EXTENSIONS), str(folder))
    return str(folder)


def animating(folder: Path, name: str, data: str, **changes: Any) -> RunConfig:
    """A run of ten steps on such a set."""
    medium = {"path": data, "medium": "video", "channels": 1, "cache_dir": str(folder / "cache")}
    model = {"name": "vgan", "width": 4, "classes": 2, "z_dim": 8, "resolution": 32}
    tree = {"data": medium | {"options": {"frames": 4}}, "model": model, "precision": "fp32", **changes}
    return tiny(folder, name, **tree)
