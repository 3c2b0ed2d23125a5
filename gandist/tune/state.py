"""Ray Tune's state of a sweep: trials and searcher, from which a sweep resumes after the loss of its driver.

Ray Tune overwrites the files of its state in place, and may upload one while it writes it. Where a driver is killed at
that moment a part of a file stays, and Ray Tune would begin the sweep again. So the driver keeps a copy of the last
complete state beside it.
"""

import json
import logging
import time

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
        newest = _newest(self.storage)
        if newest is None:
            return
        files = _files(self.storage, newest)
        if files[newest] != self.copied and _complete(files):
            self.storage.write_folder(COPY, files, last=newest)
            self.copied = files[newest]


def resumable(storage: Storage) -> bool:
    """Whether the sweep has a state to resume from. An incomplete one is deleted with a warning, and replaced by its
    copy; without a copy, which means that the driver was killed in its first seconds, there is none."""
    newest = _newest(storage)
    if newest is None:
        return False
    files = _files(storage, newest)
    if _complete(files):
        return True
    for name in files:  # first: Ray Tune resumes from the file of the latest time
        storage.delete(f"{FOLDER}/{name}")
    copies = storage.files(COPY)
    if not any(name.startswith(TRIALS) for name in copies):
        log.warning(
            "%s/%s is incomplete, and there is no copy: the sweep begins again, and runs of trials of the same names "
            "are resumed",
            storage.uri(FOLDER),
            newest,
        )
        return False
    log.warning("%s/%s is incomplete: the sweep resumes from %s", storage.uri(FOLDER), newest, storage.uri(COPY))
    for name in copies:
        storage.write_bytes(f"{FOLDER}/{name}", storage.read_bytes(f"{COPY}/{name}") or b"")
    return True


def _newest(storage: Storage) -> str | None:
    """Name of the newest list of trials."""
    return max((name for name in storage.files(FOLDER) if name.startswith(TRIALS)), default=None)


def _files(storage: Storage, newest: str) -> dict[str, bytes]:
    """The files of one state, by name; not those that Ray Tune has not yet renamed."""
    began = newest.removeprefix(TRIALS).removesuffix(END)
    names = [name for name in storage.files(FOLDER) if began in name and not name.startswith((".", "tmp-"))]
    return {name: storage.read_bytes(f"{FOLDER}/{name}") or b"" for name in names}


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
