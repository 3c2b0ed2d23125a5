"""A trial: an ordinary run, which Ray Tune steps from one measurement to the next."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from ray import tune

from gandist.config import extensions
from gandist.config.run import RunConfig
from gandist.config.schedule import images_of
from gandist.data.dataset import with_symbols
from gandist.distributed.consensus import Outcome
from gandist.errors import GandistError
from gandist.launch.driver import launch
from gandist.launch.fork import fork
from gandist.launch.ray import resources_of
from gandist.launch.resumption import prepare, run_root
from gandist.run import attempt, checkpoint
from gandist.run.progress import METRICS_FILE, RunLog, decode
from gandist.storage.storage import Storage
from gandist.tune.search import KIMG, ROUND
from gandist.tune.space import Values
from gandist.tune.sweep import trial_config
from gandist.tune.trials import LINEAGE_FILE, Direction, measured

log = logging.getLogger("gandist")

POLL_S, REMOTE_POLL_S = 0.1, 2.0
END_S = 120.0
"""Time limit for the last checkpoint of a stopped trial."""
DRIVER = {"CPU": 0, "memory": 64 << 20}
"""Resources of a trial beside workers in Ray: with a CPU, trials would starve their own workers."""
TRIALS = "trials"
"""Folder of the trials' runs, inside the sweep's folder."""


def resources(config: RunConfig) -> dict[str, float]:
    """Resources that Ray Tune reserves for a trial: the run's own needs, or next to nothing beside its workers."""
    return resources_of(config) if config.launch.kind == "local" else dict(DRIVER)


class Trial(tune.Trainable):  # type: ignore[misc]
    """One trial on Ray Tune; its configuration is `{"job": the common part, "point": its values}`.

    It starts the run in a thread, and reads the run's files. A checkpoint for Ray is the name of a run's checkpoint:
    population-based training exchanges names, and the weights stay in place.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Store the values; nothing runs before the first step."""
        job, values = config["job"], dict(config["point"])
        self.values: Values = values
        self.metrics: dict[str, Direction] = job["metrics"]
        self.name, self.reported = run_name(self.trial_id), 0
        self.thread: threading.Thread | None = None
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.every_kimg: float = job["config"]["eval"]["every_kimg"]
        extensions.run(job["imports"])
        try:
            self.run = with_symbols(trial_config(job["config"], values, f"{job['root']}/{TRIALS}", self.name))
        except GandistError as error:
            self.error = error

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        self._stop()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next measurement, and until its checkpoint is on storage."""
        if self.error is None and self.thread is None:
            self.storage = Storage(run_root(self.run))
            self.thread = threading.Thread(target=self._train, name=self.name, daemon=True)
            self.thread.start()
        while self.error is None:
            running = self.thread is not None and self.thread.is_alive()
            if result := self._next(running):
                return result
            if not running:
                break
            time.sleep(POLL_S if self.storage.local else REMOTE_POLL_S)
        return self._ended()

    def _train(self) -> None:
        try:
            self.outcome = launch(self.run, prepare(self.run, "auto"))
        except Exception as error:  # `_ended` reports it: a failed trial is a result, too
            self.error = error

    def _next(self, running: bool) -> dict[str, Any] | None:
        """The result of the next measurement once its checkpoint exists; of the last one once the run has ended."""
        rows = decode(self.storage.read_bytes(METRICS_FILE) or b"")
        point = next((each for each in measured(rows, list(self.metrics)) if each.images_seen > self.reported), None)
        if point is None:
            return None
        seen = point.images_seen
        done = seen >= images_of(self.run.train.total_kimg)
        if running and (done or f"{seen:08d}" not in checkpoint.names(self.storage)):
            return None
        if done and (self.outcome is None or self.outcome.status != "done"):
            return None
        self.reported = seen
        return self._result(seen, point.values, "done" if done else "running")

    def _ended(self) -> dict[str, Any]:
        """The last result of a run that ended early."""
        state, reason = "crashed", ""
        if self.error is not None:
            reason = str(self.error) or type(self.error).__name__
        elif self.outcome is not None:
            rows = decode(self.storage.read_bytes(METRICS_FILE) or b"")
            reason = self.outcome.message or "was asked to stop"
            if self.outcome.status == "stopped" and rows and rows[-1].get("verdict", "healthy") != "healthy":
                state = rows[-1]["verdict"]
            self.reported = rows[-1]["images_seen"] if rows else 0
        return self._result(self.reported, {}, state, reason)

    def _result(self, seen: int, values: dict[str, float], state: str, reason: str = "") -> dict[str, Any]:
        found = result_of(values, self.metrics, seen, images_of(self.every_kimg))
        return {**found, "state": state, "reason": reason, "done": state != "running"}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Called to pause the trial, or to copy its weights: the run ends here, and a step resumes it."""
        self._stop()
        return {"run": self.storage.root, "name": self.name, "images_seen": self.reported}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Resume from a checkpoint: of this trial's own run, or of another's, which then replaces its own."""
        assert checkpoint is not None
        seen = checkpoint["images_seen"]
        self.reported = seen
        if self.error is not None or checkpoint["name"] == self.name:
            return
        storage, taken = Storage(run_root(self.run)), {"images_seen": seen, "donor": checkpoint["name"]}
        before = decode(storage.read_bytes(LINEAGE_FILE) or b"")
        if before and {**before[-1], **taken} == before[-1]:  # a resumed sweep repeats it
            return
        try:
            fork(self.run, storage, checkpoint["run"], seen)
            lineage = RunLog(storage, seen, LINEAGE_FILE)
            lineage.append({**taken, "params": self.values})
            lineage.close()
        except Exception as error:  # `_ended` reports it
            self.error = error

    def cleanup(self) -> None:
        self._stop()

    def _stop(self) -> None:
        """Ask the run to end after a last checkpoint, and wait."""
        until = time.monotonic() + END_S
        while self.thread is not None and self.thread.is_alive():
            if time.monotonic() > until:
                log.warning("trial=%s does not end; its process is left to Ray", self.name)
                break
            attempt.ask_to_stop(self.storage)  # repeatedly: a run that is just starting withdraws requests
            self.thread.join(1.0)
        self.thread, self.outcome = None, None


def result_of(values: Mapping[str, float], metrics: Mapping[str, Direction], seen: int, every: int) -> dict[str, float]:
    """A measurement for Ray Tune's schedulers: a value that is missing or not finite becomes the worst possible.

    Args:
        seen: images seen at the measurement.
        every: images between measurements.
    """
    worst = {metric: math.inf if mode == "min" else -math.inf for metric, mode in metrics.items()}
    found = {metric: value for metric, value in values.items() if math.isfinite(value)}
    return {**worst, **found, KIMG: seen / 1000, ROUND: round(seen / every)}


def run_name(trial_id: str) -> str:
    """Name of a trial's run: its number, or its id if a searcher proposed it."""
    return trial_id.rpartition("_")[2]
