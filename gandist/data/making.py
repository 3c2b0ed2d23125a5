"""A set in the making: shards written out of sight, then shown all at once with their index."""

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from gandist.data.cache import ShardCache
from gandist.data.index import (
    CAPTIONS_FILE,
    SHARDS_FILE,
    Index,
    check_no_foreign_tables,
    index_shards,
    remove_index,
    write_index,
)
from gandist.errors import DataError
from gandist.storage.remote import is_remote

WORK = ".packing"
"""Folder in DEST that shards are written in: while it is there, DEST was not finished."""
MOVING = "moving.json"
"""In it, while shards are moved to DEST: names of all that come, and of those that they take the place of."""
LOCK = ".packing.lock"
NUMBERED = re.compile(r"\d{6}\.tar")
"""Names of the shards that `gandist.pack` writes."""


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
        names = sorted({path.name for path in (*self.replaced, *written)})
        (self.work / MOVING).write_text(json.dumps(names))
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
def alone(dest: str) -> Iterator[None]:
    """Within, no other command writes a set, or an index, to the folder `dest`. A lock of a dead process holds nobody.

    Raises:
        DataError: another one does; the message names its process.
        OSError: the folder cannot be written to.
    """
    path = Path(dest) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        other = ""
        with suppress(OSError):
            other = path.read_text().strip()
        raise DataError(f"{dest}: is being written by {other or 'another process'}; wait until it has ended") from error
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)}\n")
        yield
    finally:
        path.unlink(missing_ok=True)  # under the lock: who waits for it takes the file of this name, not this one
        lock.release()


@contextmanager
def making(
    dest: str, *, overwrite: bool = False, sources: Sequence[str] = (), fix: str = "give another folder"
) -> Iterator[Making]:
    """The place for a new set in the folder `dest`, which no other command writes to meanwhile.

    Args:
        overwrite: replace the set that DEST holds, once the new one is complete. Only shards that its index names go.
        sources: what the set is made from, which is not to be overwritten.
        fix: what to do where DEST holds shards already.

    Raises:
        DataError: DEST is not on this machine, holds shards, or cannot be written; another command writes to it.
    """
    if is_remote(dest):
        raise DataError(f"{dest}: sets are packed to a local folder; copy it there when it is done")
    folder, work = Path(dest), Path(dest) / WORK
    try:
        with alone(dest):
            made = Making(dest, work, *_there(folder, overwrite, sources, fix))
            try:
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir(parents=True)
                yield made
            finally:
                # Else the folder stays, by which the next run knows the shards beside it for its own.
                if not made.unfinished:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{dest}: cannot be written: {error}") from error


def _there(folder: Path, overwrite: bool, sources: Sequence[str], fix: str) -> tuple[list[Path], bool]:
    """The shards in DEST that a new set takes the place of, and whether DEST holds part of a set."""
    check_no_foreign_tables(str(folder))
    moving = folder / WORK / MOVING
    left = json.loads(moving.read_text()) if moving.is_file() else []  # by a command that was killed at its end
    ours = _indexed(folder) | {folder / name for name in left}
    shards = sorted(folder.glob("*.tar"))
    foreign = [path for path in shards if path not in ours]
    if not overwrite and ((folder / SHARDS_FILE).exists() or foreign):
        raise DataError(f"{folder}: holds shards already; {fix}")
    if shards and overwrite and any(_same(path, src) for path in (folder, *shards) for src in sources):
        raise DataError(f"{folder}: would overwrite its own source; give another DEST")
    if numbered := [path.name for path in foreign if NUMBERED.fullmatch(path.name)]:
        raise DataError(
            f"{folder}: {numbered[0]} is in the way, and no index here names it, so that it is not replaced; "
            "move it away, or give another DEST"
        )
    return [path for path in shards if path in ours], bool(left)


def _indexed(folder: Path) -> set[Path]:
    """The shards in a folder that the index in it names."""
    try:
        index = pa.BufferReader((folder / SHARDS_FILE).read_bytes())  # Arrow opens no path that is not UTF-8
        urls = pq.ParquetFile(index).read(columns=["url"], use_threads=False)["url"].to_pylist()
    except (OSError, pa.ArrowException):
        return set()
    return {folder / url for url in urls if "/" not in url}


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
