"""Attempts at a run: each start gets the next number, and an older attempt that still lives must not write.

A start may take several attempts, since Ray restarts lost workers; after another start overtakes it, it takes no more.
"""

import json
import uuid
from typing import Any

from gandist.errors import OvertakenError
from gandist.storage.storage import Storage

FILE = "attempt.json"
STOP_FILE = "stop"
"""This file in a run's folder asks the run to end after a last checkpoint."""
RESIZE_FILE = "resize"
"""This file asks the present workers to end likewise; other workers resume from that checkpoint."""
REMEMBERED = 50
"""Number of starts to remember, newest last."""


class Attempt:
    """The current attempt at the run, announced on its storage."""

    def __init__(self, storage: Storage, start: str = "") -> None:
        """`start`: an id that all attempts of one start share; "" if there is only one attempt.

        Raises:
            OvertakenError: a later start has taken over the run.
        """
        latest = _read(storage)
        self.storage, self.token = storage, uuid.uuid4().hex
        self.number: int = latest["attempt"] + 1
        starts: list[str] = latest.get("starts", [])
        if start in starts[:-1]:
            raise OvertakenError(f"{storage.root}: attempt {latest['attempt']}, of a later start, has taken over")
        starts = [*(each for each in starts if each != start), start or self.token][-REMEMBERED:]
        note = {"attempt": self.number, "token": self.token, "starts": starts}
        storage.write_bytes(FILE, json.dumps(note).encode())
        self.fenced = Storage(storage.root, check=self.check)
        """The storage; it refuses all changes once a later attempt has taken over."""

    @property
    def restarts(self) -> int:
        return self.number - 1

    def superseded(self) -> str | None:
        """Describe the later attempt that has taken over; None if there is none."""
        latest = _read(self.storage)
        return None if latest["token"] == self.token else f"attempt {latest['attempt']}"

    def check(self) -> None:
        """Raise OvertakenError if a later attempt has taken over."""
        if by := self.superseded():
            raise OvertakenError(f"{self.storage.root}: {by} has taken over this run; attempt {self.number} ends")


def _read(storage: Storage) -> dict[str, Any]:
    data = storage.read_bytes(FILE)
    latest: dict[str, Any] = json.loads(data) if data else {"attempt": 0, "token": ""}
    return latest


def count(storage: Storage) -> int:
    """Number of attempts at the run so far."""
    return int(_read(storage)["attempt"])


def overtaken(storage: Storage, start: str) -> bool:
    """Whether a later start has taken over the run from `start`."""
    return start in _read(storage).get("starts", [])[:-1]


def ask_to_stop(storage: Storage, file: str = STOP_FILE) -> None:
    """Ask all ranks of the run to end."""
    storage.write_bytes(file, b"")


def stop_asked(storage: Storage) -> bool:
    return storage.exists(STOP_FILE) or storage.exists(RESIZE_FILE)


def clear_stop(storage: Storage, *files: str) -> None:
    """Withdraw the request: a new start is about to run."""
    for file in files or (STOP_FILE, RESIZE_FILE):
        storage.delete(file)
