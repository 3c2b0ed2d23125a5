"""Resize an elastic run on Ray when its cluster has grown: write a last checkpoint, then resume with more workers.

Ray Train kills its workers at any point. `Resize` is a callback inside Ray's controller: it asks the ranks to stop, as
a signal to the driver would, and delays the change until they have stopped.
"""

import logging
import time

from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroup

from gandist.run import attempt
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

POLL_S = 0.2


class Resize(ControllerCallback, WorkerGroupCallback):  # type: ignore[misc]
    """Before a running group changes its number of workers, have it write one last checkpoint."""

    def __init__(self, root: str, patience_s: float) -> None:
        """`root`: root of the run's storage. If the ranks take longer than `patience_s`, the change proceeds."""
        self.root, self.patience_s = root, patience_s
        self._group: WorkerGroup | None = None

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        self._group = worker_group

    def before_controller_execute_resize_decision(self, resize_decision: ResizeDecision) -> None:
        group, self._group = self._group, None
        status = group.get_latest_poll_status() if group else None
        if group is None or status is None or status.errors:
            return  # the first workers, or a group that lost one: nobody can save
        storage, end = Storage(self.root), time.monotonic() + self.patience_s
        attempt.ask_to_stop(storage, attempt.RESIZE_FILE)
        try:
            while not status.finished and not status.errors and time.monotonic() < end:
                time.sleep(POLL_S)
                status = group.poll_status(timeout=1.0)  # also accepts reports, which ranks wait for
        finally:
            attempt.clear_stop(storage, attempt.RESIZE_FILE)
        log.warning("resize to %d workers, saved=%s", resize_decision.num_workers, status.finished)
