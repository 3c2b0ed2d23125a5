"""Samples read from their shards and decoded on demand."""

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple
from zlib import crc32

import numpy as np

from gandist.data.cache import ShardCache
from gandist.data.index import Index, numbers
from gandist.errors import DataError, UnreachableError
from gandist.media.medium import Medium

log = logging.getLogger("gandist")


class Place(NamedTuple):
    """Place and checksum of a file's bytes."""

    shard: int
    offset: int
    size: int
    crc: int


class StreamedSet:
    """Reads each sample from its shard, checks it and decodes it, on threads (decoders release the GIL).

    Concurrent calls of `gather` share `threads` threads; with one thread each they decode in the caller.
    """

    def __init__(
        self,
        index: Index,
        medium: Medium,
        cache: ShardCache,
        threads: int,
        on_damage: str,
        conditions: np.ndarray,
    ) -> None:
        self.index, self.cache, self.on_damage = index, cache, on_damage
        self.medium, self.conditions = medium, conditions
        self.n, self.threads = index.n, threads
        self.shards = numbers(index.samples["shard"])
        self._files = medium.files
        self._columns = [(self.shards, *index.places(file)) for file in self._files]
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._gathering, self._lock = 0, Lock()
        self.broken: set[int] = set()
        self._how: dict[str, set[int]] = {}
        # A file that is evicted or closed stays readable for a thread that still uses it.
        self._open = lru_cache(maxsize=128)(self._open_shard)

    @property
    def damaged(self) -> int:
        return len(self.broken)

    @property
    def fitted(self) -> Mapping[str, int]:
        return {how: len(numbers) for how, numbers in self._how.items()}

    def gather(self, numbers: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        row = self.medium.row
        room = np.empty((len(numbers), *row.shape), row.dtype) if out is None else out

        def decoded(rows: range) -> list[int]:
            part = numbers[rows.start : rows.stop]
            return list(map(self._sound, part.tolist(), self._places(part), room[rows.start : rows.stop]))

        with self._lock:
            self._gathering += 1
            # Threads per concurrent batch. A task costs as much overhead as a small sample.
            n_parts = -(-self.threads // self._gathering)
        try:
            step = max(1, -(-len(numbers) // n_parts))
            parts = [range(len(numbers))[at : at + step] for at in range(0, len(numbers), step)]
            found = self.pool.map(decoded, parts) if len(parts) > 1 else map(decoded, parts)
            return room, self.conditions[[number for part in found for number in part]]
        finally:
            with self._lock:
                self._gathering -= 1

    def shard_path(self, shard: int) -> Path:
        """The shard as a local file, fetched if it is remote."""
        row = self.index.shards.slice(shard, 1).to_pylist()[0]
        return self.cache.fetch(self.index.url(shard), row["sha256"], row["bytes"])

    def _open_shard(self, shard: int) -> BinaryIO:
        try:
            return self.shard_path(shard).open("rb")
        except OSError as error:
            raise DataError(f"{self.index.url(shard)}: cannot be read: {error}") from error

    def one(self, number: int, out: np.ndarray) -> None:
        """Decode one sample into `out`, a contiguous row.

        Raises:
            DataError: the bytes differ from the indexed ones, or are no sample; the message names the shard.
        """
        (places,) = self._places(np.array([number]))
        self._read(number, places, out)

    def _places(self, numbers: np.ndarray) -> Iterator[tuple[Place, ...]]:
        """The places of the files of each of these samples, in the order of `Medium.files`."""
        files = (map(Place, *(column[numbers].tolist() for column in columns)) for columns in self._columns)
        return zip(*files, strict=True)

    def _read(self, number: int, places: tuple[Place, ...], out: np.ndarray) -> None:
        for which, place, part in zip(self._files, places, self.medium.parts(out), strict=True):
            file = self._open(place.shard)  # a reference, since another thread may close its own
            data = os.pread(file.fileno(), place.size, place.offset)
            try:
                if crc32(data) != place.crc:
                    raise DataError("its bytes are not those that were indexed (crc)")
                if how := self.medium.decode(data, part):
                    self._note(number, how)
            except DataError as error:
                key = self.index.samples.column("key")[number].as_py()
                name = f"{key!r} ({which})" if len(places) > 1 else repr(key)
                raise DataError(
                    f"{self.index.url(place.shard)}: damaged at sample {name}: {error}; restore the shard, or set "
                    "data.on_damage=skip to go on without such samples"
                ) from error

    def _note(self, number: int, how: str) -> None:
        """Note how a sample was made to fit, and say so of the first that is read during training."""
        with self._lock:
            first = how not in self._how
            self._how.setdefault(how, set()).add(number)
        if first and self._gathering:
            key = self.index.samples.column("key")[number].as_py()
            log.warning("%s: sample %r is %s; others may be, too", self.index.base, key, how)

    def _sound(self, number: int, places: tuple[Place, ...], out: np.ndarray) -> int:
        """Decode into `out` the sample at these places, or the next sound one if damage is skipped; return its
        number."""
        for _ in range(self.index.n):
            if number not in self.broken:
                try:
                    self._read(number, places, out)
                    return number
                except UnreachableError:  # says nothing about the sample
                    raise
                except DataError as error:
                    if self.on_damage == "stop":
                        raise
                    self.broken.add(number)
                    log.warning("skipped: %s", error)
            number = (number + 1) % self.index.n
            (places,) = self._places(np.array([number]))
        raise DataError(f"{self.index.base}: none of its {self.index.n} samples can be read")
