"""A set in the making: shards written out of sight, then shown all at once with their index."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gandist.errors import DataError
from gandist.shards.index import CAPTIONS_FILE, SHARDS_FILE, Index, index_shards, remove_index, write_index
from gandist.shards.remote import ShardCache, is_remote

WORK = ".packing"
"""Folder in DEST that shards are written in: while it is there, DEST was not finished."""


@dataclass
class Making:
    """What `making` gives: write shards to the folder `work`, then `finish`."""

    dest: str
    work: Path
    replaced: list[Path]
    """Shards in DEST that the new ones take the place of."""
    unfinished: bool
    """Whether DEST holds part of a set."""

    def finish(
        self,
        written: Sequence[Path],
        *,
        class_names: Sequence[str] = (),
        workers: int | None = None,
        embed: Callable[[Index], Index] = lambda index: index,
    ) -> Index:
        """Index the shards, in this order, and show them in DEST, the index last. `embed` adds captions' vectors."""
        urls = [str(path) for path in written]
        index = embed(index_shards(urls, ShardCache(Path(), 0), str(self.work), class_names, workers))
        self.unfinished = True
        remove_index(self.dest)
        for path in (*self.replaced, Path(self.dest) / CAPTIONS_FILE):
            path.unlink(missing_ok=True)
        for path in written:
            path.rename(Path(self.dest) / path.name)
        index = replace(index, base=self.dest)
        write_index(index, self.dest)
        self.unfinished = False
        return index


@contextmanager
def making(
    dest: str, *, overwrite: bool = False, sources: Sequence[str] = (), fix: str = "give another folder"
) -> Iterator[Making]:
    """The place for a new set in the folder `dest`.

    Args:
        overwrite: replace the set that DEST holds, once the new one is complete.
        sources: what the set is made from, which is not to be overwritten.
        fix: what to do where DEST holds shards already.

    Raises:
        DataError: DEST is not on this machine, holds shards, or cannot be written.
    """
    if is_remote(dest):
        raise DataError(f"{dest}: sets are packed to a local folder; copy it there when it is done")
    folder, work = Path(dest), Path(dest) / WORK
    unfinished = work.exists()  # what a killed run left may be replaced
    shards = list(folder.glob("*.tar"))
    if not overwrite and ((folder / SHARDS_FILE).exists() or (shards and not unfinished)):
        raise DataError(f"{dest}: holds shards already; {fix}")
    if overwrite and shards and any(_same(path, src) for path in (folder, *shards) for src in sources):
        raise DataError(f"{dest}: would overwrite its own source; give another DEST")
    made = Making(dest, work, shards, unfinished)
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield made
    except OSError as error:
        raise DataError(f"{dest}: cannot be written: {error}") from error
    finally:
        # Else the folder stays, by which the next run knows the shards beside it for its own.
        if not made.unfinished:
            shutil.rmtree(work, ignore_errors=True)


def _same(path: Path, src: str) -> bool:
    return Path(src).exists() and path.samefile(src)


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """Write a WebDataset tar of (key, {extension: bytes}); how many samples it holds. Equal samples, equal bytes."""
    # webdataset imports torch: a second that --help and --index-only need not wait for.
    from webdataset import TarWriter

    n = 0
    with path.open("wb") as file:
        with TarWriter(file, user="", group="", mtime=0, encoder=False) as tar:
            for key, content in samples:
                tar.write({"__key__": key, **content})
                n += 1
        file.flush()
        os.fsync(file.fileno())  # the index, written last, must not outlive a power cut that shards don't
    return n


def members(image: bytes, format: str, label: int, caption: str | None) -> dict[str, bytes]:
    """What a sample consists of, by extension; `label` -1 for none."""
    content = {format: image}
    if label >= 0:
        content["cls"] = str(label).encode()
    if caption is not None:
        content["txt"] = caption.encode()
    return content
