"""Decoded samples by number: from a memory-mapped file that a node's ranks share, or decoded on demand."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from filelock import FileLock

from gandist.cli.terminal import Counter
from gandist.data.cache import ShardCache
from gandist.data.index import INPUT, Index
from gandist.data.room import allocate, room_for, sweep_decoded
from gandist.data.streamed import StreamedSet
from gandist.errors import DataError, UnreachableError
from gandist.media.medium import Medium
from gandist.storage.remote import is_remote

log = logging.getLogger("gandist")


FITTED = "fitted.json"
"""File of a decoded set with `fitted`, if there is any."""
PART = 64
"""Samples per decoding task: a task costs as much overhead as a small sample."""


class SampleSet(Protocol):
    """Random access to the decoded samples of a set."""

    @property
    def damaged(self) -> int:
        """Number of damaged samples found so far; the next sound sample replaces each."""

    @property
    def fitted(self) -> Mapping[str, int]:
        """Number of files by how they were made to fit (see `Medium.decode`), so far as they are decoded."""

    @property
    def medium(self) -> Medium:
        """The medium of the samples."""

    @property
    def n(self) -> int:
        """Number of samples."""

    def gather(self, numbers: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (N,) -> rows (N, *medium.row.shape), written to `out` if given, and conditions (N, ...)."""


def open_samples(
    index: Index,
    medium: Medium,
    *,
    cache_dir: Path,
    cache_gib: float = 50.0,
    threads: int = 2,
    on_damage: Literal["stop", "skip"] = "stop",
    conditions: np.ndarray | None = None,
) -> SampleSet:
    """The samples of a set: decoded once into a mapped file if that fits half the cache, otherwise decoded on demand.

    Args:
        conditions: the condition of each sample (n, ...), such as `index.vectors`; default `index.labels`.

    Raises:
        DataError: a shard is missing or damaged, and `on_damage` is `stop`; or no sample is sound; or the medium is of
            pairs, and the set has none.
    """
    if INPUT in medium.files and not index.paired:
        raise DataError(
            f"data.path: {index.base}: holds no pairs, which condition.kind=paired needs; pack them: python -m "
            "gandist.pack --pairs INPUTS TARGETS FOLDER, and set data.path=FOLDER"
        )
    half = int(cache_gib * 2**30 / 2)
    cache = ShardCache(cache_dir / "shards", half)
    conditions = index.labels if conditions is None else conditions
    source = StreamedSet(index, medium, cache, threads, on_damage, conditions)
    if index.n * medium.row.n_bytes > half:
        return source
    return MappedSet(source, cache_dir / "decoded", half)


class MappedSet:
    """The whole set, decoded once into a memory-mapped file: gathering is a copy."""

    def __init__(self, source: StreamedSet, folder: Path, max_bytes: int) -> None:
        """Decode the set if the file does not exist; one of several ranks decodes, the others wait.

        Raises:
            DataError: a shard's sha256 differs from the index, or a sample is damaged (unless damage is skipped).
            UnreachableError: the disk has no room for the decoded set.
        """
        index = source.index
        self.medium, self.n = source.medium, source.n
        medium, row = self.medium, self.medium.row
        self._whole = (index.n, *row.shape)
        name = f"{_identity(index, medium)[:32]}-{medium.name}"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / name
        with FileLock(folder / f"{name}.lock"):
            # Samples that were skipped while decoding may be repaired by now: `stop` checks them again.
            if not self._decoded() or (self._decoded()[0] and source.on_damage == "stop"):
                n_bytes = index.n * row.n_bytes
                sweep_decoded(folder, max_bytes - n_bytes, mine=name)
                fix = f", or set data.cache_gib below {2 * n_bytes / 2**30:.3g} to decode samples as they are read"
                with room_for("the decoded set", n_bytes, folder, fix):
                    self._decode_all(source)
            os.utime(self.path)
            # As a plain array: the methods of a memmap cost more than copying a small batch.
            self.rows = np.asarray(np.memmap(self.path / "rows", dtype=row.dtype, mode="r", shape=self._whole))
            (self.broken,) = self._decoded()
            self.fitted: Mapping[str, int] = {}
            with suppress(FileNotFoundError):
                self.fitted = json.loads((self.path / FITTED).read_text())
        if len(self.broken) == index.n:
            raise DataError(f"{index.base}: none of its {index.n} samples can be read")
        self.conditions = source.conditions
        self.alias = _next_sound(index.n, self.broken)
        source.pool.shutdown()

    def _decoded(self) -> list[list[int]]:
        """The damaged samples of the decoded set, as a list in a list; an empty list if the set is not decoded."""
        file, rows = self.path / "damaged.json", self.path / "rows"
        whole = file.is_file() and rows.is_file() and rows.stat().st_size == self.n * self.medium.row.n_bytes
        return [json.loads(file.read_text())] if whole else []

    @property
    def damaged(self) -> int:
        return len(self.broken)

    def gather(self, numbers: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        numbers = self.alias[numbers]
        # Without the GIL, and directly into `out`; mode `raise` would copy through another array.
        rows = np.take(self.rows, numbers, axis=0, out=out, mode="clip")
        return rows, self.conditions[numbers]

    def _decode_all(self, source: StreamedSet) -> None:
        index, scratch = source.index, self.path.with_name(f".{self.path.name}")

        def into_place(numbers: list[int]) -> list[int]:
            damaged = []
            for number in numbers:
                try:
                    source.one(number, rows[number])
                except UnreachableError:
                    raise
                except DataError as error:
                    if source.on_damage == "stop":
                        raise
                    log.warning("skipped: %s", error)
                    damaged.append(number)
            return damaged

        broken: list[int] = []
        counter = Counter("decoding", index.n, source.medium.nouns[1])
        try:
            scratch.mkdir()
            allocate(scratch / "rows", self.n * self.medium.row.n_bytes)
            rows = np.memmap(scratch / "rows", dtype=self.medium.row.dtype, mode="r+", shape=self._whole)
            for shard in range(index.shards.num_rows):
                numbers = np.flatnonzero(source.shards == shard).tolist()
                if not self._readable(source, shard):
                    broken += numbers
                    continue
                parts = [numbers[at : at + PART] for at in range(0, len(numbers), PART)]
                for part, damaged in zip(parts, source.pool.map(into_place, parts), strict=True):
                    broken += damaged
                    counter.add(len(part))
            rows.flush()
            (scratch / "damaged.json").write_text(json.dumps(broken))
            if source.fitted:
                (scratch / FITTED).write_text(json.dumps(source.fitted))
            shutil.rmtree(self.path, ignore_errors=True)
            scratch.rename(self.path)
        finally:
            counter.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def _readable(self, source: StreamedSet, shard: int) -> bool:
        """Whether the shard can be read; a local shard with the wrong sha256 still has sound samples."""
        url, expected = source.index.url(shard), source.index.shards.column("sha256")[shard].as_py()
        try:
            with source.shard_path(shard).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except UnreachableError:
            raise
        except (OSError, DataError) as error:
            found, damage = "", f"{url}: cannot be read: {error}"
        else:
            if found == expected:
                return True
            damage = f"{url}: damaged: its sha256 is {found[:12]}..., the index has {expected[:12]}..."
        if source.on_damage == "stop":
            raise DataError(
                f"{damage}; restore the shard (or index it anew: python -m gandist.pack {source.index.base} "
                "--index-only), or set data.on_damage=skip to go on without what is damaged"
            )
        log.warning("%s", damage)
        return bool(found)


def _identity(index: Index, medium: Medium) -> str:
    """Hash of the set's fingerprint, its local files' sizes and times (a changed shard is decoded again), and the
    decoder version."""
    digest = hashlib.sha256(f"{medium.decoder} {index.fingerprint}".encode())
    for shard in range(index.shards.num_rows):
        url = index.url(shard)
        if not is_remote(url) and Path(url).exists():
            stat = Path(url).stat()
            digest.update(f"{url} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _next_sound(n: int, broken: Sequence[int]) -> np.ndarray:
    """For each sample the next number from its own on that is not broken (n,)."""
    sound = np.ones(n, dtype=bool)
    sound[list(broken)] = False
    numbers = np.flatnonzero(sound)
    return numbers[np.searchsorted(numbers, np.arange(n)) % max(1, len(numbers))]
