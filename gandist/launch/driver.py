"""Start the ranks of a run: this process as one of them, or workers on Ray; pass signals on, and show progress."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from gandist.cli.logs import terminal
from gandist.cli.terminal import Progress
from gandist.config.run import RunConfig
from gandist.config.schedule import images_of
from gandist.distributed.consensus import Host, Outcome
from gandist.errors import ConfigError, GandistError
from gandist.run.checkpoint import Checkpoints
from gandist.run.progress import METRICS_FILE, decode
from gandist.storage.remote import is_remote, local_path
from gandist.storage.storage import Storage
from gandist.training.worker import train

log = logging.getLogger("gandist")


def launch(config: RunConfig, checkpoints: Checkpoints) -> Outcome:
    """Run to the end: as a rank, the only one or one of those that `torchrun` started; or on Ray, where `launch.kind`
    says so.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: the workers failed more often than `launch.max_failures`.
    """
    if config.launch.kind == "ray":
        return _on_ray(config, checkpoints)
    is_main = int(os.environ.get("RANK", "0")) == 0
    progress = open_progress(config, read_rows(checkpoints.storage)) if is_main else None
    with ExitStack() as closing:
        if progress is not None:
            closing.callback(progress.close)
        return train(config, checkpoints, ThisProcess(progress, closing))


class ThisProcess(Host):
    """What surrounds a rank that is this process: its signals, and its terminal."""

    def __init__(self, progress: Progress | None, closing: ExitStack) -> None:
        self._progress, self._closing, self._asked = progress, closing, threading.Event()

    def joined(self) -> None:
        # Not before: a rank that still waits for the others has nothing to save, and is to end at once.
        self._closing.enter_context(stop_on_signals(self._asked.set))

    def stopping(self) -> bool:
        return self._asked.is_set()

    def report(self, row: dict[str, Any]) -> None:
        if self._progress is not None:
            self._progress.tick(row)


def _on_ray(config: RunConfig, checkpoints: Checkpoints) -> Outcome:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("launch.kind: ray starts its own workers; under torchrun set launch.kind=local")
    try:
        from gandist.launch.ray import launch_ray  # which takes its time to import, and need not be installed
    except ImportError as error:
        raise GandistError(
            f"launch.kind: ray is not installed ({error}); pip install 'ray[train,tune,default]', "
            "or set launch.kind=local"
        ) from error
    return launch_ray(config, checkpoints)


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
    """The progress of a run that has these rows, on the terminal."""
    shown = terminal()
    verbose = shown is not None and shown.level == logging.DEBUG
    seen = rows[-1]["images_seen"] if rows else 0
    return Progress(images_of(config.train.total_kimg), seen, stream(), rows=not verbose)


def stream() -> TextIO | None:
    """Where messages are shown, whatever stands for standard error meanwhile."""
    shown = terminal()
    return shown.stream if shown is not None and not shown.stream.closed else None


def read_rows(storage: Storage) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` until now."""
    return decode(storage.read_bytes(METRICS_FILE) or b"")


def absolute(config: RunConfig) -> dict[str, Any]:
    """The configuration without relative paths: Ray's workers start in folders of their own."""
    tree = config.resolved()
    paths = ("data.path", "data.cache_dir", "model.stage_1", "eval.weights", "telemetry.dir")
    for section, field in (path.split(".") for path in paths):
        path = tree[section][field]
        if path and not path.startswith("builtin:") and not is_remote(path):
            tree[section][field] = str(local_path(path, f"{section}.{field}").absolute())
    return tree
