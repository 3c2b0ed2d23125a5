"""Real images and words shipped with the package, tones and texts made by code, packed into the cache at first use."""

import hashlib
import logging
import shutil
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from gandist.data.index_files import FORMAT_VERSION, SHARDS_FILE
from gandist.data.moving import VERSION as VERSION_MOVING
from gandist.data.moving import make_moving
from gandist.data.oracle import VERSION as VERSION_ORACLE
from gandist.data.oracle import make_oracle
from gandist.data.packing import pack
from gandist.data.room import room_for
from gandist.data.sources import open_source
from gandist.data.tones import VERSION, make_tones
from gandist.data.words import make_words
from gandist.distributed.randomness import philox
from gandist.errors import DataError

log = logging.getLogger("gandist")

DATA = Path(__file__).parents[1] / "assets"
GARMENTS, WORDS = "fashion-10k", "words"
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAINING = 9_000
"""Images of `fashion-9k`: the first of `fashion-10k` as it is packed, in an order drawn with seed 0, so that its shards
are shards of `fashion-10k`. The other 1,000 are `fashion-1k`, with 90 to 119 of each class. (The last 1,000 of the file
have 84 to 114, a little further from 100 each.)"""
PER_MODE = 30
"""Images per mode of `stacked-fashion`; it has 1,000 modes."""


def _fashion(source: Path, dest: Path, n: int | None = None, skip: int = 0) -> None:
    pack(str(source), str(dest), class_names=FASHION, n=n, skip=skip)


def stacked(source: Path, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Three garments as the red, green and blue channels of one image, for every combination of their classes.

    Returns:
        Images (N, 28, 28, 3) uint8, `PER_MODE` of each mode in turn, and the modes' numbers (N,).
    """
    grey = open_source(str(source), scratch)
    samples = [grey.read(i) for i in range(grey.n)]
    pixels, classes = np.stack([np.asarray(s.image) for s in samples]), np.array([s.label for s in samples])
    members = np.stack([np.flatnonzero(classes == c) for c in range(len(FASHION))])
    modes = np.array(list(product(range(len(FASHION)), repeat=3))).repeat(PER_MODE, axis=0)
    # The raw stream, which numpy keeps stable (unlike the methods of `Generator`).
    words = philox(0, "stacked-fashion").bit_generator.random_raw(modes.size)
    which = (np.asarray(words) % members.shape[1]).astype(np.int64).reshape(modes.shape)
    return pixels[members[modes, which]].transpose(0, 2, 3, 1), modes @ (100, 10, 1)


def _stacked(source: Path, dest: Path) -> None:
    table = dest.with_suffix(".parquet")
    pixels, modes = stacked(source, dest.parent)
    # As PPM, which costs nothing to encode.
    heading = b"P6 %d %d 255\n" % pixels.shape[1:3]
    images = [heading + image.tobytes() for image in pixels]
    try:
        pq.write_table(pa.table({"image": images, "label": modes}), table)
        pack(str(table), str(dest), class_names=[", ".join(names) for names in product(FASHION, repeat=3)])
    finally:
        table.unlink(missing_ok=True)


SETS: dict[str, Callable[[Path, Path], None]] = {
    "fashion-10k": _fashion,
    "fashion-9k": partial(_fashion, n=TRAINING),
    "fashion-1k": partial(_fashion, skip=TRAINING),
    "stacked-fashion": _stacked,
    "tones": lambda source, dest: make_tones(dest),
    "moving-fashion": partial(make_moving, size=32),
    "moving-fashion-64": partial(make_moving, size=64),
    "words": make_words,
    "words-54k": partial(make_words, held_out=False),
    "words-6k": partial(make_words, held_out=True),
    "oracle": lambda source, dest: make_oracle(dest, held_out=False),
    "oracle-held-out": lambda source, dest: make_oracle(dest, held_out=True),
}
"""The function that packs each set into a new folder, from the embedded files or from nothing."""
MADE = {"tones": f"tones-{VERSION}"} | dict.fromkeys(("oracle", "oracle-held-out"), f"oracle-{VERSION_ORACLE}")
"""Versions of the sets that need no files."""
MOVED = {"moving-fashion": VERSION_MOVING, "moving-fashion-64": VERSION_MOVING}
"""Versions of the sets that are made of the files by code."""


def builtin(name: str, cache_dir: Path) -> str:
    """Folder with the indexed shards of an embedded set: packed at first use, in seconds on two cores.

    Sets:
        `fashion-10k`, the 10,000 test images of Fashion-MNIST (28x28, grey, 10 classes; Xiao et al. 2017).
        `fashion-9k` and `fashion-1k`, its first nine shards and its last, to train on and to hold out.
        `stacked-fashion`, 30,000 RGB images, each with three of those garments as its channels: 10^3 = 1,000 modes of
            30 images each, label = 100 r + 10 g + b. It measures mode coverage as StackedMNIST does (Metz et al.
            2017, arXiv:1611.02163).
        `moving-fashion` and `moving-fashion-64`, 5,000 grey clips of 16 frames of 32 or 64 pixels: a garment that moves
            left and right, up and down, in a circle, that spins, or that zooms, 1,000 of each.
        `words`, the 60,540 English words of 3 to 12 small letters of SCOWL, by their length; `words-54k` and
            `words-6k`, parts of them to train on and to hold out.
        `oracle`, 10,000 sequences of 20 tokens, numbers below 5,000, that a random LSTM has drawn, and
            `oracle-held-out`, 2,000 more (`data.oracle`).
        `tones`, 2,400 sounds of 4,096 samples at 8,000 Hz: 200 of each of the 12 semitones from A3 (220 Hz) up.

    Args:
        name: the set's name, with or without the prefix `builtin:`.

    Raises:
        DataError: the set does not exist (the message lists the sets), or its files are damaged.
        GandistError: the set is of sounds, and the library for them is not installed.
    """
    name = name.removeprefix("builtin:")
    if name not in SETS:
        raise DataError(f"data.path: no embedded set {name!r}; there are: {', '.join(SETS)}")
    source = DATA / (WORDS if name.startswith(WORDS) else GARMENTS)
    sums = "" if name in MADE else (source / "SHA256SUMS").read_text()
    version = hashlib.sha256(f"{FORMAT_VERSION}\n{MADE.get(name, sums)}{MOVED.get(name, '')}".encode()).hexdigest()[:12]
    folder = cache_dir / "builtin" / f"{name}-{version}"
    if (folder / SHARDS_FILE).exists():
        return str(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / SHARDS_FILE).exists():
            for line in sums.splitlines():
                sha256, file = line.split()
                if hashlib.sha256((source / file).read_bytes()).hexdigest() != sha256:
                    raise DataError(f"{source / file}: damaged, its sha256 is not {sha256}; reinstall gandist")
            log.info("packing builtin:%s into %s, once", name, folder)
            temporary = folder.with_suffix(".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            with room_for(f"builtin:{name}", None, folder.parent):
                SETS[name](source, temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    return str(folder)
