"""One attempt at a run: each start gets the next number, and an older attempt that still lives must not write."""

import json
import uuid
from typing import Any

from gandist.storage import Storage

FILE = "attempt.json"
STOP_FILE = "stop"
"""A file of this name in a run's folder asks the run to end after a last checkpoint."""


class Attempt:
    """This start of the run, announced on its storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.number: int = _read(storage)["attempt"] + 1
        self.token = uuid.uuid4().hex
        storage.write_bytes(FILE, json.dumps({"attempt": self.number, "token": self.token}).encode())

    @property
    def restarts(self) -> int:
        return self.number - 1

    def superseded(self) -> str | None:
        """Which later attempt has taken over, if one has."""
        latest = _read(self.storage)
        return None if latest["token"] == self.token else f"attempt {latest['attempt']}"


def _read(storage: Storage) -> dict[str, Any]:
    data = storage.read_bytes(FILE)
    latest: dict[str, Any] = json.loads(data) if data else {"attempt": 0, "token": ""}
    return latest


def ask_to_stop(storage: Storage) -> None:
    """Ask every rank of the run to end, wherever it runs."""
    storage.write_bytes(STOP_FILE, b"")


def stop_asked(storage: Storage) -> bool:
    return storage.exists(STOP_FILE)


def forget_stop(storage: Storage) -> None:
    """Take the request back: a new start is meant to run."""
    storage.delete(STOP_FILE)
