"""Players <-> storage: safetensors and JSON, written atomically and verified when read. Nothing is unpickled.

A checkpoint is the folder `checkpoints/NNNNNNNN` (NNNNNNNN = images seen) of a run: one safetensors file for each
of G, D, G_ema and the two optimisers, `state.json`, and `manifest.json` with the sha256 of every other file.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from gandist.distributed.background import Background, arrival, to_host
from gandist.errors import CheckpointError
from gandist.gan.players import Players
from gandist.storage.storage import Storage
from gandist.storage.tensors import serialised

log = logging.getLogger("gandist")

FORMAT_VERSION = 2
"""Version 1 has the same files; but a run drew other random numbers then, so it cannot be resumed as it would have
gone on."""
READABLE = 1, FORMAT_VERSION
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
FILES = ("G", "D", "G_ema", "optim_G", "optim_D")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint in memory."""

    name: str
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @property
    def images_seen(self) -> int:
        return int(self.manifest["images_seen"])

    @property
    def resumable(self) -> bool:
        """Whether a run that goes on from it is what it would have been without a stop."""
        return bool(self.manifest["format_version"] == FORMAT_VERSION)

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of one of `FILES`, by name."""
        return load_tensors(self.files[f"{file}.safetensors"])

    def restore(self, players: Players) -> None:
        """Restore the saved state of the players.

        Raises:
            CheckpointError: the networks have other shapes.
        """
        players.load({name: self.tensors(name) for name in FILES}, json.loads(self.files["state.json"]))


class Checkpoints:
    """The checkpoints of a run, for the process that resumes from the newest: found, verified and read once.

    The newest stays in memory until `release`, because reading and hashing it takes time. Later calls only check the
    list of checkpoints and the newest one's manifest, since another attempt may have written meanwhile.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._names: list[str] = []
        self._newest: Checkpoint | None = None

    def newest(self) -> Checkpoint | None:
        """The newest sound checkpoint, as by the function `newest`; damaged ones are read once."""
        there = names(self.storage)
        if self._newest is not None and self._names == there:
            with suppress(CheckpointError):
                return self.read(self._newest.name)
        self._names, self._newest = there, _newest(self.storage, there)
        return self._newest

    def read(self, name: str) -> Checkpoint:
        """The checkpoint `name`, as by the function `read`."""
        return read(self.storage, name, self._newest)

    def release(self) -> None:
        """Free the checkpoint in memory."""
        self._newest = None


def read(storage: Storage, name: str, known: Checkpoint | None = None) -> Checkpoint:
    """Read the checkpoint `name` (its folder in `checkpoints/`), and check every file against the manifest.

    `known`: a checkpoint from an earlier call, returned if its manifest is still on storage.

    Raises:
        CheckpointError: the checkpoint is incomplete, altered, or of an unknown format; names the path.
    """
    folder = f"{FOLDER}/{name}"
    where = storage.uri(folder)
    try:
        manifest = json.loads(storage.read_bytes(f"{folder}/{MANIFEST}") or b"null")
        if not isinstance(manifest, dict):
            raise CheckpointError(f"{where}: has no manifest.json with the sha256 of its files: it is unfinished")
        if manifest["format_version"] not in READABLE:
            raise CheckpointError(
                f"{where}: format_version {manifest['format_version']}; this gandist reads "
                f"{' and '.join(map(str, READABLE))}"
            )
        if known is not None and (known.name, known.manifest) == (name, manifest):
            return known
        expected: dict[str, str] = manifest["files"]
        if not {*(f"{file}.safetensors" for file in FILES), "state.json"} <= expected.keys():
            raise CheckpointError(f"{where}: the sha256 list of its manifest.json misses files")
        files: dict[str, bytes] = {}
        for file, sha256 in expected.items():
            data = storage.read_bytes(f"{folder}/{file}")
            found = None if data is None else hashlib.sha256(data).hexdigest()
            if data is None or found != sha256:
                raise CheckpointError(f"{where}: damaged: sha256 of {file} is {found or 'missing'}, not {sha256}")
            files[file] = data
        for file in FILES:
            load_tensors(files[f"{file}.safetensors"])
        json.loads(files["state.json"])
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{where}: damaged: not what its sha256 list promises: {error!r}") from error
    return Checkpoint(name, manifest, files)


def names(storage: Storage) -> list[str]:
    """Folders of the checkpoints of a run, oldest first.

    On an object store, which cannot rename, a checkpoint without a manifest is unfinished, or its writer was killed.
    """
    found = sorted((name for name in storage.folders(FOLDER) if name.isdigit()), key=int)
    if storage.local is None:
        found = [name for name in found if storage.exists(f"{FOLDER}/{name}/{MANIFEST}")]
    return found


def newest(storage: Storage) -> Checkpoint | None:
    """The newest sound checkpoint of a run; a warning names damaged ones. None if there are no checkpoints.

    Raises:
        CheckpointError: every checkpoint is damaged.
    """
    return _newest(storage, names(storage))


def _newest(storage: Storage, found: list[str]) -> Checkpoint | None:
    for name in reversed(found):
        try:
            return read(storage, name)
        except CheckpointError as error:
            log.warning("%s; trying the one before", error)
    if found:
        raise CheckpointError(
            f"{storage.uri(FOLDER)}: all {len(found)} checkpoints fail their sha256 check; "
            "start anew under another run.name, or with --resume never"
        )
    return None


def files_of(
    tensors: Mapping[str, Mapping[str, Tensor]], scalars: dict[str, Any], facts: dict[str, Any]
) -> dict[str, bytes | memoryview]:
    """The files of a checkpoint of players' `tensors()` and `scalars()`, with `facts` in its manifest."""
    files = {f"{name}.safetensors": serialised(group) for name, group in tensors.items()}
    files["state.json"] = json.dumps(scalars, indent=1, sort_keys=True).encode()
    manifest = {
        "format_version": FORMAT_VERSION,
        "images_seen": scalars["images_seen"],
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())},
        "torch_version": torch.__version__,
        "numpy_version": np.__version__,
        **facts,
    }
    return {**files, MANIFEST: json.dumps(manifest, indent=1).encode()}


@dataclass(frozen=True)
class Written:
    """The cost of writing a checkpoint."""

    write_s: float
    stall_s: float
    bytes: int


class Writer:
    """Writes checkpoints in the background: training waits only for the copy of the tensors, on a GPU only until the
    copy is queued.

    It writes one at a time: on slow storage `save` waits for the previous checkpoint. It keeps the copy's host memory
    for the next one: page faults on new memory cost several times the copy.
    """

    def __init__(
        self,
        storage: Storage,
        facts: dict[str, Any],
        keep: int,
        keep_every: int | None = None,
        best: Callable[[int], int | None] = lambda images_seen: None,
        written: Callable[[Written], None] = lambda written: None,
    ) -> None:
        """`facts`: further entries of the manifest (fingerprints, the configuration). `keep_every`: in images.

        `best`: images seen -> images seen at the best checkpoint so far, which is kept regardless of its age.
        `written` is called for each checkpoint when it is safe, on the writing thread.
        """
        self.storage, self.facts, self.keep, self.keep_every = storage, facts, keep, keep_every
        self.best, self.written = best, written
        self._writing = Background("checkpoint")
        self._room: dict[str, dict[str, Tensor]] = {}

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; return the time that training waited, in seconds.

        Raises:
            OSError: the previous checkpoint could not be written.
            OvertakenError: another attempt has taken over the run.
        """
        start = time.perf_counter()
        self.wait()
        for file, group in players.tensors().items():
            room = self._room.get(file, {})
            self._room[file] = {name: to_host(tensor, room.get(name)) for name, tensor in group.items()}
        numbers, scalars = players.scalars_later()
        copied = to_host(numbers)
        arrived = arrival(numbers.device)
        stall_s = time.perf_counter() - start
        self._writing.start(lambda: self._write(arrived, lambda: scalars(copied), stall_s))
        return stall_s

    def check(self) -> None:
        """Raise the error of the last write, if it has failed by now."""
        self._writing.check()

    def wait(self) -> None:
        """Wait until the current checkpoint is safe."""
        self._writing.wait()

    def close(self) -> None:
        self._writing.close()

    def _write(self, arrived: Callable[[], object], read: Callable[[], dict[str, Any]], stall_s: float) -> None:
        arrived()
        start = time.perf_counter()
        scalars = read()
        files = files_of(self._room, scalars, self.facts)
        try:
            self.storage.write_folder(f"{FOLDER}/{scalars['images_seen']:08d}", files, last=MANIFEST)
        except OSError:
            self.storage.check()  # a later attempt deletes unfinished files of this one
            raise
        self.written(Written(time.perf_counter() - start, stall_s, sum(map(len, files.values()))))
        self._prune(scalars["images_seen"])

    def _prune(self, images_seen: int) -> None:
        # Newer ones were skipped as damaged: they do not count, and the run will replace them when it gets there.
        counts = [int(name) for name in names(self.storage) if int(name) <= images_seen]
        for count in expendable(counts, self.keep, self.keep_every, self.best(images_seen)):
            self.storage.delete_folder(f"{FOLDER}/{count:08d}", last=MANIFEST)


def expendable(images_seen: list[int], keep: int, keep_every: int | None, best: int | None = None) -> list[int]:
    """The checkpoints to delete, out of these image counts: all except the newest `keep`, the first in each interval
    of `keep_every` images, and the best."""
    ordered = sorted(images_seen)
    kept = {*ordered[-keep:], best}
    if keep_every:
        first: dict[int, int] = {}
        for count in ordered:
            first.setdefault(count // keep_every, count)
        kept |= set(first.values())
    return [count for count in ordered if count not in kept]
