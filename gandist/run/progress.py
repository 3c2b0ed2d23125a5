"""The rows of `metrics.jsonl`, the metrics of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from gandist.storage.storage import Storage

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """`metrics.jsonl` of a run: one JSON object per line, flushed after each row.

    Opening drops the rows past `images_seen`, where the run resumes, and a line torn by a crash. The first row
    replaces the file by a new one: an older attempt that still has the old file open appends to no effect. A storage
    that cannot append gets the whole file with each row.
    """

    def __init__(self, storage: Storage, images_seen: int = 0, name: str = METRICS_FILE):
        self._storage = storage
        self._name = name
        self._file: BinaryIO | None = None
        found = storage.read_bytes(name) or b""
        self._data = b"".join(encode(row) for row in decode(found) if row["images_seen"] <= images_seen)
        if self._data != found or not storage.exists(name):
            storage.write_bytes(name, self._data)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it must hold `images_seen`."""
        if self._file is not None:
            self._storage.check()
            self._file.write(encode(row))
            self._file.flush()
            return
        self._data += encode(row)
        self._storage.write_bytes(self._name, self._data)
        if self._storage.local is not None:
            self._file, self._data = (self._storage.local / self._name).open("ab"), b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def last_images_seen(storage: Storage) -> int:
    """Images seen at the last row of a run's `metrics.jsonl`; -1 without rows."""
    rows = decode(storage.read_bytes(METRICS_FILE) or b"")
    return int(rows[-1]["images_seen"]) if rows else -1


def encode(row: Mapping[str, Any]) -> bytes:
    """A row as a line of strict JSON; a number that is not finite becomes null."""
    row = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def decode(data: bytes) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; incomplete lines are dropped."""
    rows: list[dict[str, Any]] = []
    for text in data.split(b"\n"):
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("images_seen"), int):
            rows.append(row)
    return rows
