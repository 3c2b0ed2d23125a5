"""Players <-> storage: safetensors and JSON, written whole or not at all, verified when read. Nothing is unpickled.

A checkpoint is the folder `checkpoints/NNNNNNNN` (NNNNNNNN = images seen) of a run: one safetensors file for each
of G, D, G_ema and the two optimisers, `state.json`, and `manifest.json` with the sha256 of every other file.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
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

FORMAT_VERSION = 1
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
FILES = ("G", "D", "G_ema", "optim_G", "optim_D")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, in memory."""

    name: str
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @property
    def images_seen(self) -> int:
        return int(self.manifest["images_seen"])

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of one of `FILES` by their names."""
        return load_tensors(self.files[f"{file}.safetensors"])

    def restore(self, players: Players) -> None:
        """Put the players in the state that was saved.

        Raises:
            CheckpointError: the networks are of another shape.
        """
        players.load({name: self.tensors(name) for name in FILES}, json.loads(self.files["state.json"]))


class Checkpoints:
    """The checkpoints of a run, for the one process that goes on from the newest: found, verified and read once.

    The newest stays in memory until `release`, since to read and hash it takes its time. On storage only the list of
    checkpoints and its manifest are looked at again: another attempt at the run may have written meanwhile.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._names: list[str] = []
        self._newest: Checkpoint | None = None

    def newest(self) -> Checkpoint | None:
        """The newest sound checkpoint, as the function `newest` finds it; damaged ones are looked at once."""
        there = names(self.storage)
        if self._newest is not None and self._names == there:
            with suppress(CheckpointError):
                return self.read(self._newest.name)
        self._names, self._newest = there, _newest(self.storage, there)
        return self._newest

    def read(self, name: str) -> Checkpoint:
        """The checkpoint `name`, as the function `read` gives it."""
        return read(self.storage, name, self._newest)

    def release(self) -> None:
        """Keep no checkpoint in memory any longer."""
        self._newest = None


def read(storage: Storage, name: str, known: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint `name` (its folder under `checkpoints/`), every file checked against the manifest.

    `known`: one that was read before, which is given back where its manifest is still on storage.

    Raises:
        CheckpointError: with the path: torn, tampered with, or of an unknown format.
    """
    folder = f"{FOLDER}/{name}"
    where = storage.uri(folder)
    try:
        manifest = json.loads(storage.read_bytes(f"{folder}/{MANIFEST}") or b"null")
        if not isinstance(manifest, dict):
            raise CheckpointError(f"{where}: has no manifest.json with the sha256 of its files: it is unfinished")
        if manifest["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{where}: format_version {manifest['format_version']}; this gandist reads {FORMAT_VERSION}"
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

    On an object store, which has no rename, one without a manifest is being written, or its writer was killed.
    """
    found = sorted((name for name in storage.folders(FOLDER) if name.isdigit()), key=int)
    if storage.local is None:
        found = [name for name in found if storage.exists(f"{FOLDER}/{name}/{MANIFEST}")]
    return found


def newest(storage: Storage) -> Checkpoint | None:
    """The newest sound checkpoint of a run; damaged ones are named in a warning. None where there are none.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
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


@dataclass(frozen=True)
class Written:
    """What writing a checkpoint cost."""

    write_s: float
    stall_s: float
    bytes: int


class Writer:
    """Writes checkpoints in the background: training stops only for the copy of the tensors, and on a GPU only until
    that copy is queued.

    One at a time: where the storage is slower than the run, `save` waits for the checkpoint before. The copy's room in
    host memory is kept from one to the next: to fault in new pages costs several times the copy.
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
        """`facts`: what the manifest holds besides (fingerprints, the configuration). `keep_every`: in images.

        `best`: images seen -> those of the best checkpoint until then, which is kept whatever its age.
        `written` is told of each checkpoint as soon as it is safe, on the thread that writes.
        """
        self.storage, self.facts, self.keep, self.keep_every = storage, facts, keep, keep_every
        self.best, self.written = best, written
        self._writing = Background("checkpoint")
        self._room: dict[str, dict[str, Tensor]] = {}

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; how long training stood still for it, in seconds.

        Raises:
            OSError: the one before could not be written.
            OvertakenError: another attempt at the same run has taken over.
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
        """Raise what made the writing of the last checkpoint fail, if it has failed by now."""
        self._writing.check()

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is safe."""
        self._writing.wait()

    def close(self) -> None:
        self._writing.close()

    def _write(self, arrived: Callable[[], object], read: Callable[[], dict[str, Any]], stall_s: float) -> None:
        arrived()
        start = time.perf_counter()
        scalars = read()
        files = {f"{name}.safetensors": serialised(group) for name, group in self._room.items()}
        files["state.json"] = json.dumps(scalars, indent=1, sort_keys=True).encode()
        manifest = {
            "format_version": FORMAT_VERSION,
            "images_seen": scalars["images_seen"],
            "files": {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())},
            "torch_version": torch.__version__,
            "numpy_version": np.__version__,
            **self.facts,
        }
        files[MANIFEST] = json.dumps(manifest, indent=1).encode()
        try:
            self.storage.write_folder(f"{FOLDER}/{scalars['images_seen']:08d}", files, last=MANIFEST)
        except OSError:
            self.storage.check()  # a later attempt sweeps away what this one had begun
            raise
        self.written(Written(time.perf_counter() - start, stall_s, sum(map(len, files.values()))))
        self._prune(scalars["images_seen"])

    def _prune(self, images_seen: int) -> None:
        # Newer ones were passed over as damaged: they take nobody's place, and are replaced when the run gets there.
        counts = [int(name) for name in names(self.storage) if int(name) <= images_seen]
        for count in expendable(counts, self.keep, self.keep_every, self.best(images_seen)):
            self.storage.delete_folder(f"{FOLDER}/{count:08d}", last=MANIFEST)


def expendable(images_seen: list[int], keep: int, keep_every: int | None, best: int | None = None) -> list[int]:
    """Of checkpoints at these counts, those to delete: neither among the newest `keep`, nor the first of a
    stretch of `keep_every` images, nor the best."""
    ordered = sorted(images_seen)
    kept = {*ordered[-keep:], best}
    if keep_every:
        first: dict[int, int] = {}
        for count in ordered:
            first.setdefault(count // keep_every, count)
        kept |= set(first.values())
    return [count for count in ordered if count not in kept]
