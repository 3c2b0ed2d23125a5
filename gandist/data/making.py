"""A set being written: shards go to a hidden folder, then appear all at once with their index."""

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
from gandist.data.index import INPUT, TARGET, Index
from gandist.data.index_files import CAPTIONS_FILE, SHARDS_FILE, check_no_foreign_tables, remove_index, write_index
from gandist.data.indexing import index_shards
from gandist.errors import DataError
from gandist.storage.remote import is_remote

WORK = ".packing"
"""Folder in DEST for unfinished shards: while it exists, DEST is incomplete."""
MOVING = "moving.json"
"""File in that folder while shards move to DEST: the names of all new shards, and of the shards they replace."""
LOCK = ".packing.lock"
NUMBERED = re.compile(r"\d{6}\.tar")
"""Name pattern of the shards that `gandist.pack` writes."""


@dataclass
class Making:
    """The context of `making`: write shards to the folder `work`, then call `finish`."""

    dest: str
    work: Path
    replaced: list[Path]
    """Shards in DEST that the new ones replace."""
    unfinished: bool
    """Whether DEST holds a partial set."""

    def finish(
        self,
        written: Sequence[Path],
        *,
        class_names: Sequence[str] = (),
        workers: int | None = None,
        extensions: Sequence[str] | None = None,
        embed: Callable[[Index], Index] = lambda index: index,
        symbols: str = "",
        tokenizer: str = "",
    ) -> Index:
        """Index the shards in this order and move them to DEST, the index last. `embed` adds captions' vectors.
        `extensions` are those of the sample files (`Medium.extensions`), None if they are plain; `symbols` the
        characters of a set of texts, empty for those that there are, `tokenizer` the one that it was packed with."""
        urls = [str(path) for path in written]
        nowhere = ShardCache(Path(), 0)  # local files bypass a cache
        index = embed(index_shards(urls, nowhere, str(self.work), class_names, workers, extensions=extensions))
        names = sorted({path.name for path in (*self.replaced, *written)})
        (self.work / MOVING).write_text(json.dumps(names))
        self.unfinished = True
        remove_index(self.dest)
        for path in (*self.replaced, Path(self.dest) / CAPTIONS_FILE):
            path.unlink(missing_ok=True)
        for path in written:
            path.rename(Path(self.dest) / path.name)
        index = replace(index, base=self.dest, symbols=symbols or index.symbols, tokenizer=tokenizer)
        write_index(index, self.dest)
        self.unfinished = False
        return index


@contextmanager
def alone(dest: str) -> Iterator[None]:
    """Lock the folder `dest` against other commands that write a set or an index. A dead process holds no lock.

    Raises:
        DataError: another command holds the lock; the message names its process.
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
        path.unlink(missing_ok=True)  # under the lock: a waiting process opens the new file of this name
        lock.release()


@contextmanager
def making(
    dest: str, *, overwrite: bool = False, sources: Sequence[str] = (), fix: str = "give another folder"
) -> Iterator[Making]:
    """A new set in the folder `dest`, locked against other commands.

    Args:
        overwrite: replace the set in DEST when the new one is complete. Only shards in its index are deleted.
        sources: the sources of the set, which must not be overwritten.
        fix: the advice in the message if DEST holds shards already.

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
                # Otherwise the folder stays, so that the next run recognises the shards beside it as its own.
                if not made.unfinished:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{dest}: cannot be written: {error}") from error


def _there(folder: Path, overwrite: bool, sources: Sequence[str], fix: str) -> tuple[list[Path], bool]:
    """The shards in DEST that a new set replaces, and whether DEST holds a partial set."""
    check_no_foreign_tables(str(folder))
    moving = folder / WORK / MOVING
    left = json.loads(moving.read_text()) if moving.is_file() else []  # of a command killed while finishing
    ours = _indexed(folder) | {folder / name for name in left}
    shards = sorted(folder.glob("*.tar"))
    foreign = [path for path in shards if path not in ours]
    if not overwrite and ((folder / SHARDS_FILE).exists() or foreign):
        raise DataError(f"{folder}: holds shards already; {fix}")
    if shards and overwrite and any(_same(path, src) for path in (folder, *shards) for src in sources):
        raise DataError(f"{folder}: would overwrite its own source; give another DEST")
    if numbered := [path.name for path in foreign if NUMBERED.fullmatch(path.name)]:
        raise DataError(
            f"{folder}: holds {numbered[0]}, which no index here lists, so it is not replaced; move it away, or give "
            "another DEST"
        )
    return [path for path in shards if path in ours], bool(left)


def _indexed(folder: Path) -> set[Path]:
    """The shards in a folder that its index lists."""
    try:
        index = pa.BufferReader((folder / SHARDS_FILE).read_bytes())  # Arrow opens only UTF-8 paths
        urls = pq.ParquetFile(index).read(columns=["url"], use_threads=False)["url"].to_pylist()
    except (OSError, pa.ArrowException):
        return set()
    return {folder / url for url in urls if "/" not in url}


def _same(path: Path, src: str) -> bool:
    return Path(src).exists() and path.samefile(src)


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """Write a WebDataset tar of (key, {extension: bytes}); return the number of samples. Equal samples give equal
    bytes."""
    # webdataset imports torch: that takes a second, which --help and --index-only do not need.
    from webdataset import TarWriter

    n = 0
    with path.open("wb") as file:
        with TarWriter(file, user="", group="", mtime=0, encoder=False) as tar:
            for key, content in samples:
                tar.write({"__key__": key, **content})
                n += 1
        file.flush()
        os.fsync(file.fileno())  # after a power cut the index, written last, must not exist without its shards
    return n


def members(image: bytes, format: str, label: int, caption: str | None, input: bytes | None = None) -> dict[str, bytes]:
    """The members of a sample by extension; `label` -1 for none. With an `input` the image is the target of a pair."""
    content = {format: image} if input is None else {f"{INPUT}.{format}": input, f"{TARGET}.{format}": image}
    if label >= 0:
        content["cls"] = str(label).encode()
    if caption is not None:
        content["txt"] = caption.encode()
    return content
