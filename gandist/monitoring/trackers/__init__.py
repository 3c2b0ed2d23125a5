"""Trackers, which show a run beyond its own files: TensorBoard event files, MLflow, Weights & Biases.

Each tracker works on its own thread, so a slow or missing server, or a full disk, costs one warning and never blocks
training. That thread imports the library, only for enabled trackers and only on the main rank.
"""

import importlib.util
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from gandist.config.run import RunConfig
from gandist.errors import ConfigError
from gandist.media.medium import Preview
from gandist.monitoring.health import Row
from gandist.monitoring.trackers.servers import MLflow, WandB
from gandist.monitoring.trackers.tensorboard import TensorBoard
from gandist.monitoring.trackers.tracker import Start, Tracker
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

PENDING = 200
"""Maximum number of rows and previews waiting for a tracker; further ones are dropped."""
CLOSE_S = 10.0
"""Seconds that the end of a run waits for unsent data."""


def _tensorboard(start: Start) -> Tracker:
    assert start.storage.local is not None
    return TensorBoard(start.storage.local / TensorBoard.FOLDER, start.images_seen)


TRACKERS: dict[str, Callable[[Start], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": lambda start: MLflow(start.config, start.storage, start.written),
    "wandb": lambda start: WandB(start.config, start.storage, start.written),
}
"""Trackers by their fields in the section `track`."""
EXTRAS = ("mlflow", "wandb")
"""Trackers whose library is an extra of gandist with the same name."""


class Aside:
    """A tracker on its own thread: calls return at once, run in order, and never raise."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        self._name, self._open = name, open_tracker
        self._warned = self._given_up = False
        self._calls: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(PENDING)
        self._thread = threading.Thread(target=self._work, name=f"track-{name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        tracker: Tracker | None = None
        while True:
            call = self._calls.get()
            try:
                if tracker is None:
                    tracker = self._open()  # retried at the next call if the server was away
                if call is None:
                    tracker.close()
                else:
                    call(tracker)
            except Exception as error:  # a library may raise anything
                self._warn(f"{type(error).__name__}: {error}")
            if call is None or self._given_up:
                return

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("track.%s: %s; the run goes on, and not all of it is tracked", self._name, what)

    def call(self, call: Callable[[Tracker], None]) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._warn(f"{PENDING} rows and previews wait")

    def close(self, until: float) -> None:
        """Wait until everything is sent, at most until `until`."""
        with suppress(queue.Full):
            self._calls.put(None, timeout=max(0.0, until - time.monotonic()))
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._given_up = True
            self._warn(f"does not answer for {CLOSE_S:g} s")


class Trackers:
    """All trackers of a run."""

    def __init__(self, config: RunConfig, storage: Storage, images_seen: int, written: int = -1) -> None:
        """Open the trackers that the configuration names.

        Args:
            images_seen: position where the run starts or resumes.
            written: images seen at the last row of an earlier attempt, which may lie beyond `images_seen`; -1 for none.
        """
        start = Start(config, storage, images_seen, written)
        self._all = [Aside(name, _opener(name, start)) for name in _wanted(config, storage)]

    def row(self, row: Row) -> None:
        kept = dict(row)
        self._each(lambda tracker: tracker.row(kept))

    def preview(self, images_seen: int, preview: Callable[[], Preview]) -> None:
        """`preview` may be slow: the trackers' threads call it."""
        self._each(lambda tracker: tracker.preview(images_seen, preview()))

    def roll_back_to(self, images_seen: int) -> None:
        self._each(lambda tracker: tracker.roll_back_to(images_seen))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in self._all:
            tracker.call(call)

    def close(self) -> None:
        until = time.monotonic() + CLOSE_S
        for tracker in self._all:
            tracker.close(until)


def _opener(name: str, start: Start) -> Callable[[], Tracker]:
    return lambda: TRACKERS[name](start)


def _wanted(config: RunConfig, storage: Storage) -> list[str]:
    """Names of a run's trackers; TensorBoard's files need a folder."""
    names = [name for name in TRACKERS if getattr(config.track, name)]
    if "tensorboard" in names and storage.local is None:
        log.warning("track.tensorboard: %s is no local folder: this run writes no event files", storage.root)
        names.remove("tensorboard")
    return names


def check_trackers(config: RunConfig) -> None:
    """Refuse a run if a tracker's library is not installed here.

    Raises:
        ConfigError: naming the field and the package to install.
    """
    for name in EXTRAS:
        if getattr(config.track, name) and importlib.util.find_spec(name) is None:
            raise ConfigError(f"track.{name}: {name} is not installed; pip install 'gandist[{name}]'")
