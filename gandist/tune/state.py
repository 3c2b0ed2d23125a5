"""Ray Tune's state of a sweep: trials and searcher, from which a sweep resumes after the loss of its driver.

Ray Tune overwrites the files of its state in place, and may upload one while it writes it. Where a driver is killed at
that moment a part of a file stays, and Ray Tune would begin the sweep again. So the driver keeps a copy of the last
complete state beside it.
"""

import json
import logging
import time
from collections.abc import Iterable

from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

FOLDER, COPY = "ray", "ray-copy"
TRIALS, END = "experiment_state-", ".json"
"""Start and end of the name of the file that lists the trials; between them is the time at which its driver began.
Files of the searcher have the same time in their names."""
PERIOD_S = 2.0
"""Least seconds between two copies: Ray Tune writes its state as often."""


class StateCopy:
    """Copies Ray Tune's state whenever it has changed and is complete."""

    def __init__(self, storage: Storage) -> None:
        self.storage, self.copied, self.next_s = storage, b"", 0.0

    def update(self) -> None:
        """Copy the newest state, unless it is incomplete, or already copied, or the last copy is too recent."""
        if time.monotonic() < self.next_s:
            return
        self.next_s = time.monotonic() + PERIOD_S
        newest = _newest(self.storage, FOLDER)
        if newest is None:
            return
        files = _files(self.storage, FOLDER, newest)
        if files[newest] != self.copied and _complete(files):
            self.storage.write_folder(COPY, files, last=newest)
            self.copied = files[newest]


def resumable(storage: Storage) -> bool:
    """Whether the sweep has a state to resume from. An incomplete one is replaced by its copy, with a warning; without
    a copy, which means that the driver was killed in its first seconds, it is deleted. A repair that is interrupted is
    repeated: until its end the newest list of trials is the incomplete one."""
    newest = _newest(storage, FOLDER)
    if newest is None:
        return False
    incomplete = _files(storage, FOLDER, newest)
    if _complete(incomplete):
        return True
    copied = _newest(storage, COPY)
    log.warning(
        "%s/%s is incomplete%s",
        storage.uri(FOLDER),
        newest,
        f": the sweep resumes from {storage.uri(COPY)}"
        if copied
        else ", and there is no copy: the sweep begins again, and runs of trials of the same names are resumed",
    )
    copies = _files(storage, COPY, copied) if copied else {}
    for name in _trials_last(copies):
        storage.write_bytes(f"{FOLDER}/{name}", copies[name])
    for name in _trials_last(incomplete.keys() - copies.keys()):
        storage.delete(f"{FOLDER}/{name}")
    return copied is not None


def _trials_last(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.startswith(TRIALS))


def _newest(storage: Storage, folder: str) -> str | None:
    """Name of the newest list of trials."""
    return max((name for name in storage.files(folder) if name.startswith(TRIALS)), default=None)


def _files(storage: Storage, folder: str, newest: str) -> dict[str, bytes]:
    """The files of one state, by name; not those that Ray Tune has not yet renamed."""
    began = newest.removeprefix(TRIALS).removesuffix(END)
    names = [name for name in storage.files(folder) if began in name and not name.startswith((".", "tmp-"))]
    return {name: storage.read_bytes(f"{folder}/{name}") or b"" for name in names}


def _complete(files: dict[str, bytes]) -> bool:
    """Whether no file is cut off: the list of trials is JSON, others are pickles, which end with a full stop, or
    JSON."""
    return all(
        _is_json(content) if name.startswith(TRIALS) else content.endswith(b".") or _is_json(content)
        for name, content in files.items()
    )


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
