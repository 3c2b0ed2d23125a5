"""A log file in the run's folder with all messages of a command."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from gandist.storage.storage import Storage

FOLDER = "logs"
FORMAT = "%(asctime)s %(levelname)s %(message)s"
UPLOAD_S = 60.0
"""Seconds between uploads of a log to an object store, which cannot append."""


class StoredLog(logging.Handler):
    """Writes messages of all levels to a file on a run's storage."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter(FORMAT))
        # To the microsecond: two commands may start within a second.
        self.storage, self.path = storage, f"{FOLDER}/{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"
        self._text, self._written_s = "", time.monotonic()
        self._file = None
        if storage.local is not None:
            (storage.local / FOLDER).mkdir(parents=True, exist_ok=True)
            self._file = (storage.local / self.path).open("a", buffering=1)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record) + "\n"
        if self._file is not None:
            self._file.write(text)
            return
        self._text += text
        if time.monotonic() - self._written_s >= UPLOAD_S:
            self._upload()

    def _upload(self) -> None:
        self.storage.write_bytes(self.path, self._text.encode())
        self._written_s = time.monotonic()

    def discard(self) -> None:
        """Drop this log: the command had nothing to do."""
        self.close()
        self._text = ""
        self.storage.delete(self.path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        elif self._text:
            self._upload()
        super().close()


@contextmanager
def kept(storage: Storage) -> Iterator[StoredLog]:
    """Inside the context, all messages to the logger `gandist` also go to a file of the run."""
    log, handler = logging.getLogger("gandist"), StoredLog(storage)
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        handler.close()
