"""Work beside the ranks of a run: signals, and progress on the terminal."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from gandist.cli.logs import terminal
from gandist.cli.terminal import Progress
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.config.schedule import images_of
from gandist.run.progress import METRICS_FILE, decode
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")


@contextmanager
def stop_on_signals(
    act: Callable[[], None], signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C call `act`; a second one ends the process as usual."""

    def handle(number: int, frame: object) -> None:
        log.warning("signal=%s: one last checkpoint, then the run ends", signal.Signals(number).name)
        for each, usual in before.items():
            signal.signal(each, usual)
        act()

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {each: signal.signal(each, handle) for each in signals}
    try:
        yield
    finally:
        for each, usual in before.items():
            signal.signal(each, usual)


def open_progress(config: RunConfig, rows: list[dict[str, Any]]) -> Progress:
    """The progress display of a run with these rows."""
    shown = terminal()
    verbose = shown is not None and shown.level == logging.DEBUG
    seen = rows[-1]["images_seen"] if rows else 0
    many = medium_of(config).nouns[1]
    return Progress(images_of(config.train.total_kimg), seen, stream(), rows=not verbose, many=many)


def stream() -> TextIO | None:
    """The stream that messages go to, even if standard error is replaced."""
    shown = terminal()
    return shown.stream if shown is not None and not shown.stream.closed else None


def read_rows(storage: Storage) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` so far."""
    return decode(storage.read_bytes(METRICS_FILE) or b"")
