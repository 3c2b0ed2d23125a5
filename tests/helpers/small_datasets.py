"""Small sets of real shards, as `gandist.pack` writes them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from gandist.data.index import Index
from gandist.data.index_files import write_index
from gandist.data.packing import pack

EMOJI = Path(__file__).parents[2] / "data/emoji/node_modules"
"""Where `make emoji` lays the npm packages of `configs/emoji.py`."""
EMOJI_CLIPS = EMOJI / "@lobehub/fluent-emoji-anim-1"
"""The one of `configs/clips.py`."""
CAPTIONS = ("a red apple", "flag: egypt", "waving hand, medium skin tone")


def fewer_emoji(folder: Path, every: int) -> None:
    """The packages of emoji as npm leaves them, with one emoji in `every`; those that move, all."""
    for package in EMOJI.glob("emoji-datasource-*"):
        (folder / package.name).mkdir(parents=True)
        (folder / package.name / "img").symlink_to(package / "img")
        entries = json.loads((package / "emoji.json").read_text())
        (folder / package.name / "emoji.json").write_text(json.dumps(entries[::every]))
    (folder / EMOJI_CLIPS.parent.name).symlink_to(EMOJI_CLIPS.parent)


def pixels(number: int, size: int = 32, channels: int = 3) -> np.ndarray:
    """Image `number` of each set: noise, so that no two are alike."""
    noise = np.random.default_rng(number).integers(0, 256, (size, size, channels), np.uint8)
    return noise[:, :, 0] if channels == 1 else noise


def make_set(
    folder: Path, n: int = 40, *, classes: int = 2, size: int = 32, channels: int = 3, **options: Any
) -> Index:
    """Pack n images to `folder`/shards, a fifth of them a shard; `options` are `pack`'s. Image i of it is `pixels(i)`,
    with the caption `CAPTIONS[i % 3]` if they are asked for."""
    for number in range(n):
        path = folder / "images" / (f"class{number % classes}" if classes else "") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number, size, channels)).save(path)
        if options.get("captions"):
            path.with_suffix(".txt").write_text(CAPTIONS[number % len(CAPTIONS)])
    return pack(str(folder / "images"), str(folder / "shards"), **{"shard_size": n // 5, "workers": 1, **options})[0]


def damage(index: Index, number: int) -> str:
    """Flip a byte inside sample `number`; the path of its shard."""
    row = index.samples.slice(number, 1).to_pylist()[0]
    path = Path(index.url(row["shard"]))
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return str(path)


def far_labels(index: Index, first: int = 1_000_000) -> Index:
    """The same set on the disk with labels from `first` on."""
    labels = index.samples["label"].combine_chunks()
    samples = index.samples.set_column(
        index.samples.schema.get_field_index("label"), "label", pc.add(labels, pa.scalar(first, pa.int32()))
    )
    far = replace(index, samples=samples)
    write_index(far, index.base)
    return far
