"""What happens to an elastic run on Ray whose cluster has grown: a last checkpoint, then more workers go on from it.

Ray Train ends its workers where they stand. `Resize` is a callback inside Ray's controller that asks the ranks to stop,
as a signal to the driver would, and holds the change up until they have.
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
    """Before each change of the number of workers of a group that runs, one last checkpoint of it."""

    def __init__(self, root: str, patience_s: float) -> None:
        """`root`: of the run's storage. Where the ranks take longer than `patience_s`, the change goes on without."""
        self.root, self.patience_s = root, patience_s
        self._group: WorkerGroup | None = None

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        self._group = worker_group

    def before_controller_execute_resize_decision(self, resize_decision: ResizeDecision) -> None:
        group, self._group = self._group, None
        status = group.get_latest_poll_status() if group else None
        if group is None or status is None or status.errors:
            return  # the first workers, or what is left of a group that lost one: nobody is there to save
        storage, end = Storage(self.root), time.monotonic() + self.patience_s
        attempt.ask_to_stop(storage, attempt.RESIZE_FILE)
        try:
            while not status.finished and not status.errors and time.monotonic() < end:
                time.sleep(POLL_S)
                status = group.poll_status(timeout=1.0)  # which takes reports, for which ranks wait, too
        finally:
            attempt.clear_stop(storage, attempt.RESIZE_FILE)
        log.warning("resize to %d workers, saved=%s", resize_decision.num_workers, status.finished)
