"""Where a run is shown besides its own files: TensorBoard event files, MLflow, Weights & Biases.

Each tracker works on a thread of its own, so that a server that is slow or gone, or a full disk, costs one warning and
never holds training up. Libraries are imported on that thread, of what is switched on only, in the leading rank only.
"""

import importlib.util
import io
import json
import logging
import math
import os
import queue
import socket
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gandist.config import RunConfig, leaves
from gandist.errors import ConfigError
from gandist.progress import METRICS_FILE, decode
from gandist.storage import Storage

log = logging.getLogger("gandist")

Row = Mapping[str, Any]

PENDING = 200
"""Rows and pictures that may wait for a tracker; what comes while so many do is not tracked."""
CLOSE_S = 10.0
"""How long the end of a run waits for what was not sent yet."""


class Tracker(Protocol):
    """What is shown a run. Any of these may fail: the run goes on."""

    def row(self, row: Row) -> None:
        """Take a row of `metrics.jsonl`, with `images_seen` as the step."""

    def picture(self, images_seen: int, png: bytes) -> None:
        """Take a grid of samples."""

    def retreat(self, images_seen: int) -> None:
        """The run goes on from an earlier checkpoint: what came after it is void."""

    def close(self) -> None:
        """Send the rest."""


def scalars(row: Row) -> dict[str, float]:
    """The finite numbers of a row, but for its step and its time."""
    return {
        key: float(value)
        for key, value in row.items()
        if key not in ("images_seen", "time_s") and isinstance(value, int | float) and math.isfinite(value)
    }


def notes(row: Row) -> dict[str, str]:
    """What a row says in words: why a run is not healthy, and that it was rolled back."""
    said = {"health": f"{row.get('verdict')}: {row['reason']}"} if row.get("reason") else {}
    return said | ({"rollback": str(row["rollback"])} if row.get("rollback") else {})


class TensorBoard:
    """Event files in `RUN/tensorboard/`, one an attempt or roll-back.

    tensorboardX's `SummaryWriter` is not used: once its thread has met a full disk, the next call waits for ever.
    """

    FOLDER = "tensorboard"

    def __init__(self, folder: Path, images_seen: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._open(images_seen)

    def _open(self, images_seen: int) -> None:
        """Begin a file, after the events past `images_seen` were cut from those before it."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        for path in self.folder.glob("events.out.tfevents.*"):
            _cut(path, images_seen)
        # Two files may be begun in one second, and the name of the first must not be taken again.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
        self._records = RecordWriter(str(self.folder / name))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if images_seen:  # a TensorBoard that runs meanwhile has read what was cut: it is to forget it
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=images_seen + 1, session_log=start))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()

    def row(self, row: Row) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import text

        values = [Summary.Value(tag=key, simple_value=value) for key, value in scalars(row).items()]
        values += [each for key, said in notes(row).items() for each in text(key, said).value]
        self._write(Event(wall_time=row["time_s"], step=row["images_seen"], summary=Summary(value=values)))

    def picture(self, images_seen: int, png: bytes) -> None:
        from PIL import Image
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        width, height = Image.open(io.BytesIO(png)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag="samples", image=image)])
        self._write(Event(wall_time=time.time(), step=images_seen, summary=summary))

    def retreat(self, images_seen: int) -> None:
        self._records.close()
        self._open(images_seen)

    def close(self) -> None:
        self._records.close()


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(start, content) of the records of an event file, until its end or where it is torn."""
    at = 0  # length (8 bytes), its checksum (4), content, its checksum (4)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            return
        yield at, data[at + 12 : at + 12 + length]
        at += 16 + length


def _cut(path: Path, images_seen: int) -> None:
    """Drop the events past `images_seen` (all, where that is 0: the run begins anew) and a torn end."""
    from tensorboardX.proto.event_pb2 import Event

    data, end, shown = path.read_bytes(), 0, False
    for at, content in _records(data):
        event = Event.FromString(content)
        if event.step > images_seen or (event.HasField("summary") and not images_seen):
            break
        end, shown = at + 16 + len(content), shown or event.HasField("summary")
    if not shown:
        path.unlink()
    elif end < len(data):
        os.truncate(path, end)


class Appending:
    """A server that takes no point back: after a resumption the points that it has are not sent again.

    After a roll-back it shows both the points that are void and those that take their place.
    """

    def __init__(self, storage: Storage, name: str, where: str, written: int) -> None:
        """`written`: images seen at the last row of this run before it stopped; -1 where there is none."""
        self._storage, self._file, self._where = storage, f"{name}.json", where
        kept = json.loads(storage.read_bytes(self._file) or b"{}")
        self.id: str = kept["id"] if kept.get("where") == where else ""
        # The rows tell of the last stop, of which less may be left after a second one.
        self._written = max(written, kept.get("written", -1)) if self.id else -1
        if self.id:
            self._keep()

    def keep_id(self, identity: str) -> None:
        """Remember, in the run's folder, what the server knows the run by."""
        self.id = identity
        self._keep()

    def _keep(self) -> None:
        kept = {"where": self._where, "id": self.id, "written": self._written}
        self._storage.write_bytes(self._file, json.dumps(kept).encode())

    def new(self, images_seen: int) -> bool:
        return images_seen > self._written

    def retreat(self, images_seen: int) -> None:
        self._written = -1
        self._keep()


class MLflow(Appending):
    """A run of the experiment `$MLFLOW_EXPERIMENT_NAME` (default `gandist`) on a tracking server.

    The configuration is its parameters, verdicts are its tags, grids are its artifacts in `samples/`.
    """

    def __init__(self, config: RunConfig, storage: Storage, written: int) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = str(config.track.mlflow)
        super().__init__(storage, "mlflow", uri, written)
        self._client = MlflowClient(tracking_uri=uri)
        self._tags: dict[str, str] = {}
        if self.id:
            self._client.update_run(self.id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "gandist")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self.keep_id(self._client.create_run(experiment, run_name=config.run.name).info.run_id)
        params = [Param(path, str(value)) for path, value in leaves(config.resolved())]
        for start in range(0, len(params), 100):  # MLflow takes no more at once
            self._client.log_batch(self.id, params=params[start : start + 100])

    def row(self, row: Row) -> None:
        from mlflow.entities import Metric, RunTag

        if not self.new(row["images_seen"]):
            return
        at_ms, step = int(row["time_s"] * 1000), row["images_seen"]
        metrics = [Metric(key, value, at_ms, step) for key, value in scalars(row).items()]
        tags = {"health": str(row.get("verdict", "")), **notes(row)}
        news = [RunTag(key, said) for key, said in tags.items() if self._tags.get(key) != said]
        self._client.log_batch(self.id, metrics=metrics, tags=news)
        self._tags |= tags

    def picture(self, images_seen: int, png: bytes) -> None:
        from PIL import Image

        self._client.log_image(self.id, Image.open(io.BytesIO(png)), f"samples/{images_seen:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self.id)


class WandB(Appending):
    """A run of the project `track.wandb` (`project` or `entity/project`), with `images_seen` as its x axis."""

    def __init__(self, config: RunConfig, storage: Storage, written: int) -> None:
        import wandb

        where = str(config.track.wandb)
        super().__init__(storage, "wandb", where, written)
        # Asked before init() would: that prompts for a key, on the terminal of the training.
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise ConfigError("not logged in: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline")
        if not self.id:
            self.keep_id(uuid.uuid4().hex[:12])
        entity, _, project = where.rpartition("/")
        self._run = wandb.init(
            entity=entity or None,
            project=project,
            name=config.run.name,
            id=self.id,
            resume="allow",
            dir=storage.local or tempfile.mkdtemp(prefix="gandist-wandb-"),
            config=config.resolved(),
            settings=wandb.Settings(console="off", silent=True, finish_timeout=CLOSE_S / 2),
        )
        self._run.define_metric("*", step_metric="images_seen")

    def row(self, row: Row) -> None:
        if self.new(row["images_seen"]):
            said = {"verdict": str(row.get("verdict", "")), **notes(row)}
            self._run.log({"images_seen": row["images_seen"], **scalars(row), **said})

    def picture(self, images_seen: int, png: bytes) -> None:
        import wandb
        from PIL import Image

        if self.new(images_seen):
            self._run.log({"images_seen": images_seen, "samples": wandb.Image(Image.open(io.BytesIO(png)))})

    def close(self) -> None:
        self._run.finish()


class Start(NamedTuple):
    """Where a run takes up."""

    config: RunConfig
    storage: Storage
    images_seen: int
    written: int


def _tensorboard(start: Start) -> Tracker:
    assert start.storage.local is not None
    return TensorBoard(start.storage.local / TensorBoard.FOLDER, start.images_seen)


TRACKERS: dict[str, Callable[[Start], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": lambda start: MLflow(start.config, start.storage, start.written),
    "wandb": lambda start: WandB(start.config, start.storage, start.written),
}
"""By their fields in the section `track`."""
EXTRAS = ("mlflow", "wandb")
"""Trackers whose library, of the same name, is an extra of gandist."""


class Aside:
    """A tracker on its own thread: calls return at once, in their order, and never raise."""

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
                    tracker = self._open()  # again with the next call, where the server was away
                if call is None:
                    tracker.close()
                else:
                    call(tracker)
            except Exception as error:  # whatever a library raises
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
            self._warn(f"{PENDING} rows and pictures wait")

    def close(self, until: float) -> None:
        """Wait until all is sent, until that time at most."""
        with suppress(queue.Full):
            self._calls.put(None, timeout=max(0.0, until - time.monotonic()))
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._given_up = True
            self._warn(f"does not answer for {CLOSE_S:g} s")


class Trackers:
    """All trackers of a run."""

    def __init__(self, config: RunConfig, storage: Storage, images_seen: int) -> None:
        """To be opened before the rows past `images_seen`, where the run takes up, are dropped."""
        rows = decode(storage.read_bytes(METRICS_FILE) or b"")
        start = Start(config, storage, images_seen, rows[-1]["images_seen"] if rows else -1)
        self._all = [Aside(name, _opener(name, start)) for name in _wanted(config, storage)]

    def row(self, row: Row) -> None:
        kept = dict(row)
        self._each(lambda tracker: tracker.row(kept))

    def picture(self, images_seen: int, png: Callable[[], bytes]) -> None:
        """`png` may take its time: it is called on the trackers' threads."""
        self._each(lambda tracker: tracker.picture(images_seen, png()))

    def retreat(self, images_seen: int) -> None:
        self._each(lambda tracker: tracker.retreat(images_seen))

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
    """Names of the trackers that a run has; TensorBoard's files need a folder."""
    names = [name for name in TRACKERS if getattr(config.track, name)]
    if "tensorboard" in names and storage.local is None:
        log.warning("track.tensorboard: %s is no local folder: this run writes no event files", storage.root)
        names.remove("tensorboard")
    return names


def check_trackers(config: RunConfig) -> None:
    """Refuse a run that is to be tracked by what is not installed here.

    Raises:
        ConfigError: with the field and what to install.
    """
    for name in EXTRAS:
        if getattr(config.track, name) and importlib.util.find_spec(name) is None:
            raise ConfigError(f"track.{name}: {name} is not installed; pip install 'gandist[{name}]'")
