"""The ranks of a run as Ray Train's workers: the cluster, the trainer, and the driver's work while they train."""

import logging
import math
import os
import shutil
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, LoggingConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig

from gandist.cli.logs import show_messages
from gandist.cli.terminal import waiting
from gandist.config import extensions
from gandist.config.paths import absolute
from gandist.config.run import RunConfig, validate
from gandist.distributed import flight_recorder
from gandist.distributed.consensus import Host, Outcome
from gandist.errors import GandistError, RunError
from gandist.launch.ray_output import WORKER
from gandist.launch.ray_trainer import Trainer
from gandist.launch.resize import Resize
from gandist.launch.supervise import open_progress, read_rows, stop_on_signals, stream
from gandist.run import attempt
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train

PROGRESS_S = 0.5
SLOW_S = 30
"""Seconds after which waiting for workers is explained."""
REQUEST_S = 180
"""Seconds for which a request of resources stays in force that its run did not withdraw (Ray Train 2.60). Elastic runs
take what is not requested."""
STARTS, ELASTIC_STARTS = 5, 30
"""Times that a fixed and an elastic number of workers are started anew where there is no room for them."""


def launch_ray(config: RunConfig, checkpoints: Checkpoints, profile: int = 0) -> Outcome:
    """Train with workers on the running Ray cluster, under Ray Train's failure handling.

    The driver only waits: it shows progress from the rows that the run writes, and passes a signal to the workers
    through a file on the run's storage, since they may be on other machines.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: the workers failed more often than `launch.max_failures`.
    """
    storage = checkpoints.storage
    checkpoints.release()  # the workers are other processes

    # The cluster, and a trainer on it
    with waiting(lambda: "connecting to Ray", stream()):
        own = connect(cpus=math.ceil(config.worker_range[0] * config.launch.resources.get("CPU", 1)))
    resources = resources_of(config)
    start, attempts = uuid.uuid4().hex, attempt.count(storage)
    # A new name each time: gandist, not Ray, chooses the checkpoint to resume from.
    name = f"{config.run.name}-{start[:8]}"
    fit = Fit(trainer_of(config, storage, start, name, resources, profile, unshared=own))

    # Start the workers, and follow the rows that they write
    with stop_on_signals(lambda: _ask_to_stop(storage, start)):
        fit.start()
        began = time.monotonic()
        with waiting(lambda: shortage(config, resources, ray.cluster_resources(), time.monotonic() - began), stream()):
            while fit.is_alive() and attempt.count(storage) == attempts:
                fit.join(PROGRESS_S)
        follow(config, storage, fit)

    # The end, without Ray Train's notes on an experiment whose checkpoints it has not seen
    if storage.local is not None:
        shutil.rmtree(storage.local / "ray" / name, ignore_errors=True)
        with suppress(OSError):  # another start's files are there
            (storage.local / "ray").rmdir()
    return fit.outcome()


def trainer_of(
    config: RunConfig,
    storage: Storage,
    start: str,
    name: str,
    resources: dict[str, float],
    profile: int = 0,
    unshared: bool = False,
) -> Trainer:
    """The configured trainer of a run: `name` is Ray's name for it, `start` identifies the start in all attempts,
    `profile` is the number of steps to profile, `unshared` says that nobody else uses the cluster."""
    low, high = config.worker_range
    elastic, use_gpu = low < high, resources.get("GPU", 0) > 0
    recorded = flight_recorder.variables(storage.local) if use_gpu and storage.local is not None else None
    return Trainer(
        ray_worker,
        unshared=unshared,
        train_loop_config={
            "config": absolute(config),
            "root": storage.root,
            "start": start,
            "imports": extensions.sources(config.imports),
            "profile": profile,
        },
        torch_config=TorchConfig(timeout_s=math.ceil(config.launch.timeout_s)),
        scaling_config=ScalingConfig(
            num_workers=(low, high) if elastic else high,
            elastic_resize_monitor_interval_s=config.launch.resize_s,
            use_gpu=use_gpu,
            resources_per_worker=resources,
            label_selector=config.launch.labels or None,
        ),
        run_config=RayRunConfig(
            name=name,
            storage_path=str(storage.local / "ray") if storage.local else None,
            logging_config=LoggingConfig("WARNING"),
            worker_runtime_env={"env_vars": recorded} if recorded else None,
            failure_config=FailureConfig(
                max_failures=config.launch.max_failures,
                controller_failure_limit=ELASTIC_STARTS if elastic else STARTS,
            ),
            callbacks=[Resize(storage.root, config.launch.timeout_s)] if elastic else [],
        ),
    )


class Fit(threading.Thread):
    """Runs a trainer, and Ray Train's controller with it, in a thread, so that signals reach gandist's handlers. Ray's
    would abort without a checkpoint."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(name="ray-train", daemon=True)
        self._trainer = trainer
        self._outcome: Outcome | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._outcome = self._trainer.fit().return_value
        except Exception as error:  # `outcome` raises it on the main thread
            self._error = error

    def outcome(self) -> Outcome:
        """How the run ended, after the thread has ended.

        Raises:
            GandistError: a worker raised it.
            RunError: the workers failed.
        """
        if self._error is not None:
            raise _failure(self._error)
        assert self._outcome is not None
        return self._outcome


def ray_worker(job: dict[str, Any]) -> Outcome:
    """The function that each of Ray Train's workers runs."""
    show_messages(format=WORKER)
    # Ray Train logs every report, by a logger outside its own tree; the driver already shows the rows.
    logging.getLogger().setLevel(logging.WARNING)
    extensions.run(job["imports"])
    return train(validate(job["config"]), Checkpoints(Storage(job["root"])), RayHost(job["start"], job["profile"]))


class RayHost(Host):
    """The environment of a rank that is one of Ray Train's workers."""

    # Ray Train accepts a report only at its controller's next poll: each would block the run for up to a second.
    report_every_s = 5.0

    def __init__(self, start: str, profile: int) -> None:
        self.start, self.profile = start, profile

    def preempted(self) -> bool:
        return ray.train.get_preemption_info() is not None

    def report(self, row: dict[str, Any]) -> None:
        ray.train.report(row)


def follow(config: RunConfig, storage: Storage, thread: threading.Thread) -> None:
    """Show the rows of `metrics.jsonl` as they appear, until the thread ends."""
    rows = read_rows(storage)
    progress, shown = open_progress(config, rows), len(rows)
    interval_s = PROGRESS_S if storage.local is not None else 10 * PROGRESS_S
    while thread.is_alive():
        thread.join(interval_s)
        rows = read_rows(storage)
        for row in rows[shown:]:
            progress.tick({key: math.nan if value is None else value for key, value in row.items()})
        shown = len(rows)  # fewer than before if a restart returned to a checkpoint
        progress.refresh()
    progress.close()


def _ask_to_stop(storage: Storage, start: str) -> None:
    if not attempt.overtaken(storage, start):  # otherwise the request would stop the later attempt
        attempt.ask_to_stop(storage)


def _failure(error: Exception) -> Exception:
    """The error to raise for a failed run: a worker's GandistError if there is one, else the whole story."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, GandistError):
                return cause
            cause = getattr(cause, "_base_exc", None) or getattr(cause, "cause", None) or cause.__cause__
    return RunError(str(error))


def connect(cpus: int, log_to_driver: bool = True, dashboard: bool = False) -> bool:
    """Join the running Ray cluster, or start one on this machine with `cpus` of Ray's CPUs. That may exceed the number
    of cores, so that the same configuration runs on any laptop.

    Args:
        dashboard: whether a cluster started here has Ray's dashboard. A sweep needs it: it tells Ray Train which trials
            have ended, whose reservations are to be freed. A run starts sooner without.

    Returns:
        Whether the cluster is this process's own, and ends with it.
    """
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS") or _standing_head()
    quiet = logging.WARNING
    if address and address != "local":
        ray.init(address=address, logging_level=quiet, log_to_driver=log_to_driver)
        return False
    cpus = max(os.cpu_count() or 1, cpus)
    # No node of a cluster that ends with this process is announced to be taken away: one process less.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=dashboard,
        logging_level=quiet,
        log_to_driver=log_to_driver,
    )
    return True


def _standing_head() -> str | None:
    """Address of a head that `ray start` left on this machine, if it still answers.

    Ray itself would retry a stale address for more than a minute.
    """
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        address = file.read_text().strip()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return address
    except (OSError, ValueError):
        return None


def resources_of(config: RunConfig) -> dict[str, float]:
    """Ray resources that each worker reserves: `launch.resources`, or a GPU if the cluster has any."""
    use_gpu = config.device == "cuda" or (config.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    return config.launch.resources or ({"CPU": 1.0, "GPU": 1.0} if use_gpu else {"CPU": 1.0})


def shortage(config: RunConfig, resources: dict[str, float], there: dict[str, float], waited_s: float) -> str:
    """What a run waits for, and why.

    Args:
        resources: resources of each worker.
        there: resources of the cluster.
        waited_s: seconds since the run began to wait.
    """
    workers, high = config.worker_range
    text = f"waiting for {workers} worker{'s' * (workers > 1)} with {_listed(resources)} each"
    lacking = {name: there.get(name, 0) for name, each in resources.items() if there.get(name, 0) < each * workers}
    if lacking:
        return f"{text}; the cluster has {_listed(lacking)}"
    if workers < high and waited_s > SLOW_S:
        return f"{text}; Ray may hold back for {REQUEST_S} s what another run asked for, even if that run has ended"
    return text


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
