"""Write samples to files: a folder, a zip, or shards for training."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

from gandist.data.index import Index
from gandist.data.making import alone, making, members, write_shard
from gandist.data.trees import LISTING
from gandist.errors import ConfigError
from gandist.storage.atomic import written_atomically

SHARD_SIZE = 1000
"""Samples per shard if the pattern leaves the number of shards open."""
COUNTED = re.compile(r"%0?\d*d")


def encoded(batches: Iterable[np.ndarray], encode: Callable[[np.ndarray], bytes]) -> Iterator[bytes]:
    """The file of each row of the batches, encoded on threads (encoders release the GIL)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches:
            yield from pool.map(encode, batch)


def check_empty(folder: Path) -> None:
    """Refuse a folder that is not empty: its files would mix with the new ones.

    Raises:
        ConfigError: the folder is not empty.
    """
    held = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if held:
        raise ConfigError(f"--out {folder}: holds {held[0]} already; empty it, or give another folder")


def write_folder(folder: Path, samples: Iterable[bytes], extension: str = "png") -> None:
    """Write `000000.png` and so on; each file appears complete.

    Raises:
        ConfigError: the folder is not empty.
        DataError: another command writes to it.
    """
    with alone(str(folder)):
        check_empty(folder)
        for i, sample in enumerate(samples):
            with written_atomically(folder / f"{i:06d}.{extension}") as scratch:
                scratch.write_bytes(sample)


def write_zip(
    out: Path,
    samples: Iterable[bytes],
    labels: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    extension: str = "png",
) -> None:
    """Write a zip of `000000.png` and so on, with labels in `dataset.json` (StyleGAN's format) and captions in
    `000000.txt` and so on: `gandist.pack` reads both. Equal samples give equal bytes."""

    def add(name: str, content: str | bytes) -> None:
        info = zipfile.ZipInfo(name)  # dated 1980
        info.external_attr = 0o644 << 16
        archive.writestr(info, content)

    names = []
    with written_atomically(out) as scratch, zipfile.ZipFile(scratch, "w") as archive:
        for i, sample in enumerate(samples):
            names.append(f"{i:06d}.{extension}")
            add(names[i], sample)
            if captions is not None:
                add(f"{i:06d}.txt", captions[i])
        if labels is not None:
            add(str(LISTING), json.dumps({"labels": list(zip(names, labels, strict=True))}))


def shard_names(pattern: str, n: int) -> tuple[str, list[tuple[str, int]]]:
    """The folder of the shards, and (name, number of samples) of each, for n samples.

    Args:
        pattern: `fakes.tar` for one shard, `fakes-{0000..0009}.tar` for one per name with equal shares,
            `fakes-%06d.tar` for one per `SHARD_SIZE` samples.

    Raises:
        ConfigError: the names are not distinct names in one folder, or there are more names than samples.
    """
    folder, _, name = pattern.rpartition("/")
    if COUNTED.search(name):
        sizes = [min(SHARD_SIZE, n - first) for first in range(0, n, SHARD_SIZE)]
        return folder or ".", [(_numbered(name, i), size) for i, size in enumerate(sizes)]
    try:
        paths = list(map(Path, braceexpand(pattern)))
    except UnbalancedBracesError as error:
        raise ConfigError(f"--out {pattern}: the braces do not match; write fakes-{{0000..0009}}.tar") from error
    if len({path.parent for path in paths}) > 1 or len(set(paths)) < len(paths):
        raise ConfigError(f"--out {pattern}: does not name several files in one folder; write fakes-{{0000..0009}}.tar")
    if n < len(paths):
        raise ConfigError(f"--out {pattern}: {len(paths)} shards for {n} images; give fewer, or a larger --n")
    sizes = [len(part) for part in np.array_split(np.arange(n), len(paths))]
    return str(paths[0].parent), list(zip((path.name for path in paths), sizes, strict=True))


def _numbered(name: str, number: int) -> str:
    return COUNTED.sub(lambda found: found[0] % number, name)


def write_shards(
    pattern: str,
    n: int,
    samples: Iterable[bytes],
    labels: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    *,
    extension: str = "png",
    class_names: Sequence[str] = (),
    embed: Callable[[Index], Index] = lambda index: index,
) -> Index:
    """Write n samples as WebDataset shards with their index, ready for training. All files appear at once.

    Args:
        embed: add the captions' vectors to the index.

    Raises:
        ConfigError: see `shard_names`.
        DataError: the folder holds shards already, or cannot be written.
    """
    folder, plan = shard_names(pattern, n)
    keyed = (
        (f"{i:08d}", members(each, extension, -1 if labels is None else labels[i], captions[i] if captions else None))
        for i, each in enumerate(samples)
    )
    with making(folder) as made:
        for name, size in plan:
            write_shard(made.work / name, islice(keyed, size))
        written = [made.work / name for name, _ in plan]
        return made.finish(written, class_names=class_names, extensions=(extension,), embed=embed)
