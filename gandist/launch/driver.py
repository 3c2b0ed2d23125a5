"""Start the ranks of a run: workers on Ray, or this process; and how the run's end becomes an exit status."""

import logging
import math
import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from gandist.cli.logs import show_messages, terminal
from gandist.cli.terminal import Progress, waiting
from gandist.config import extensions
from gandist.config.run import RunConfig, validate
from gandist.config.schedule import images_of
from gandist.distributed.consensus import Host, Outcome
from gandist.errors import ConfigError, GandistError, RunError
from gandist.launch.ray_output import WORKER
from gandist.run import attempt
from gandist.run.checkpoint import Checkpoints
from gandist.run.progress import METRICS_FILE, decode
from gandist.storage.remote import is_remote, local_path
from gandist.storage.storage import Storage
from gandist.training.worker import train

log = logging.getLogger("gandist")

PROGRESS_S = 0.5


def launch(config: RunConfig, checkpoints: Checkpoints) -> Outcome:
    """Run to the end, wherever `launch.kind` says.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: the workers failed more often than `launch.max_failures`.
    """
    return {"local": launch_local, "ray": launch_ray}[config.launch.kind](config, checkpoints)


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


def launch_local(config: RunConfig, checkpoints: Checkpoints) -> Outcome:
    """This process is a rank: the only one, or one of those that `torchrun` started."""
    is_main = int(os.environ.get("RANK", "0")) == 0
    progress = _progress(config, _rows(checkpoints.storage)) if is_main else None
    asked = threading.Event()

    class Local(Host):
        def joined(self) -> None:
            # Not before: a rank that still waits for the others has nothing to save, and is to end at once.
            stack.enter_context(stop_on_signals(asked.set))

        def stopping(self) -> bool:
            return asked.is_set()

        def report(self, row: dict[str, Any]) -> None:
            if progress is not None:
                progress.tick(row)

    with ExitStack() as stack:
        if progress is not None:
            stack.callback(progress.close)
        return train(config, checkpoints, Local())


def launch_ray(config: RunConfig, checkpoints: Checkpoints) -> Outcome:
    """Workers on the Ray cluster at hand, under Ray Train's failure handling.

    The driver only waits: it shows progress from the rows that the run writes, and hands a signal on to the
    workers by a file on the run's storage, since they may be on other machines.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("launch.kind: ray starts its own workers; under torchrun set launch.kind=local")
    try:
        from ray.train import FailureConfig, LoggingConfig, ScalingConfig
        from ray.train import RunConfig as RayRunConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from gandist.launch.resize import Resize
    except ImportError as error:
        raise GandistError(
            f"launch.kind: ray is not installed ({error}); pip install 'ray[train,tune,default]', "
            "or set launch.kind=local"
        ) from error
    storage = checkpoints.storage
    checkpoints.release()  # the workers are other processes
    # How often Ray's controller looks at the workers: a lost one is noticed, and a finished run ends, so much sooner.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    low, high = config.worker_range
    with waiting(lambda: "connecting to Ray", _stream()):
        connect(cpus=math.ceil(low * config.launch.resources.get("CPU", 1)))
    resources = resources_of(config)
    start, elastic, attempts = uuid.uuid4().hex, low < high, attempt.count(storage)
    # A new name each time: which checkpoint to go on from is ours to find, not Ray's.
    name = f"{config.run.name}-{start[:8]}"
    trainer = TorchTrainer(
        ray_worker,
        train_loop_config={
            "config": absolute(config),
            "root": storage.root,
            "start": start,
            "imports": extensions.sources(config.imports),
        },
        torch_config=TorchConfig(timeout_s=math.ceil(config.launch.timeout_s)),
        scaling_config=ScalingConfig(
            num_workers=(low, high) if elastic else high,
            elastic_resize_monitor_interval_s=config.launch.resize_s,
            use_gpu=resources.get("GPU", 0) > 0,
            resources_per_worker=resources,
            label_selector=config.launch.labels or None,
        ),
        run_config=RayRunConfig(
            name=name,
            storage_path=str(storage.local / "ray") if storage.local else None,
            logging_config=LoggingConfig("WARNING"),
            failure_config=FailureConfig(max_failures=config.launch.max_failures, controller_failure_limit=5),
            callbacks=[Resize(storage.root, config.launch.timeout_s)] if elastic else [],
        ),
    )
    result: dict[str, Any] = {}

    def fit() -> None:
        try:
            result["value"] = trainer.fit().return_value
        except Exception as error:  # handed to the main thread, which tells it
            result["error"] = error

    # In a thread, so that signals reach the handlers below instead of Ray's, which abort without a checkpoint.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)

    def ask() -> None:
        if not attempt.overtaken(storage, start):  # the request would be one to those that have taken over
            attempt.ask_to_stop(storage)

    with stop_on_signals(ask):
        thread.start()
        with waiting(lambda: _shortage(low, resources), _stream()):
            while thread.is_alive() and attempt.count(storage) == attempts:
                thread.join(PROGRESS_S)
        follow(config, storage, thread)
    if storage.local is not None:  # Ray Train's own notes on an experiment whose checkpoints it has not seen
        shutil.rmtree(storage.local / "ray" / name, ignore_errors=True)
        with suppress(OSError):  # another start has its own there
            (storage.local / "ray").rmdir()
    if "error" in result:
        raise _failure(result["error"])
    outcome: Outcome = result["value"]
    return outcome


def resources_of(config: RunConfig) -> dict[str, float]:
    """What each worker reserves of Ray's resources: `launch.resources`, or a GPU where the cluster has any."""
    import ray

    use_gpu = config.device == "cuda" or (config.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    return config.launch.resources or ({"CPU": 1.0, "GPU": 1.0} if use_gpu else {"CPU": 1.0})


def _shortage(workers: int, resources: dict[str, float]) -> str:
    """What a run waits for until it trains, and what the cluster lacks for it."""
    import ray

    text = f"waiting for {workers} worker{'s' * (workers > 1)} with {_listed(resources)} each"
    there = ray.cluster_resources()
    lacking = {name: there.get(name, 0) for name, each in resources.items() if there.get(name, 0) < each * workers}
    return f"{text}; the cluster has {_listed(lacking)}" if lacking else text


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def absolute(config: RunConfig) -> dict[str, Any]:
    """The configuration without relative paths: Ray's workers start in folders of their own."""
    tree = config.resolved()
    paths = ("data.path", "data.cache_dir", "model.stage_1", "eval.weights", "telemetry.dir")
    for section, field in (path.split(".") for path in paths):
        path = tree[section][field]
        if path and not path.startswith("builtin:") and not is_remote(path):
            tree[section][field] = str(local_path(path, f"{section}.{field}").absolute())
    return tree


def connect(cpus: int, log_to_driver: bool = True) -> None:
    """Join the Ray cluster at hand, or start one on this machine: with `cpus` of Ray's CPUs, if need be more of them
    than the machine has cores, so that the same configuration runs on any laptop."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or _standing_head()
    quiet = logging.WARNING
    if address and address != "local":
        ray.init(address=address, logging_level=quiet, log_to_driver=log_to_driver)
    else:
        cpus = max(os.cpu_count() or 1, cpus)
        ray.init(address="local", num_cpus=cpus, logging_level=quiet, log_to_driver=log_to_driver)


def _standing_head() -> str | None:
    """Address of a head that `ray start` left on this machine, if it still answers.

    Ray itself follows a stale file for more than a minute.
    """
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        address = file.read_text().strip()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return address
    except (OSError, ValueError):
        return None


def ray_worker(job: dict[str, Any]) -> Outcome:
    """What each of Ray Train's workers runs."""
    import ray.train

    class RayHost(Host):
        # Ray Train takes a report only when its controller next looks: each would hold the run up to a second.
        report_every_s = 5.0
        start = job["start"]

        def preempted(self) -> bool:
            return ray.train.get_preemption_info() is not None

        def report(self, row: dict[str, Any]) -> None:
            ray.train.report(row)

    show_messages(format=WORKER)
    # Ray Train logs every report that it is given, by a logger outside its own tree; the driver shows the rows already.
    logging.getLogger().setLevel(logging.WARNING)
    extensions.run(job["imports"])
    return train(validate(job["config"]), Checkpoints(Storage(job["root"])), RayHost())


def follow(config: RunConfig, storage: Storage, thread: threading.Thread) -> None:
    """Show the rows of `metrics.jsonl` as they come, until the thread ends."""
    rows = _rows(storage)
    progress, shown = _progress(config, rows), len(rows)
    interval_s = PROGRESS_S if storage.local is not None else 10 * PROGRESS_S
    while thread.is_alive():
        thread.join(interval_s)
        rows = _rows(storage)
        for row in rows[shown:]:
            progress.tick({key: math.nan if value is None else value for key, value in row.items()})
        shown = len(rows)  # fewer than before where a restart took the run back to a checkpoint
        progress.refresh()
    progress.close()


def _progress(config: RunConfig, rows: list[dict[str, Any]]) -> Progress:
    shown = terminal()
    verbose = shown is not None and shown.level == logging.DEBUG
    seen = rows[-1]["images_seen"] if rows else 0
    return Progress(images_of(config.train.total_kimg), seen, _stream(), rows=not verbose)


def _stream() -> TextIO | None:
    """Where messages are shown, whatever stands for standard error meanwhile."""
    shown = terminal()
    return shown.stream if shown is not None and not shown.stream.closed else None


def _rows(storage: Storage) -> list[dict[str, Any]]:
    return decode(storage.read_bytes(METRICS_FILE) or b"")


def _failure(error: Exception) -> Exception:
    """What to raise for a failed run: the GandistError that a worker raised, if one did, else the whole story."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, GandistError):
                return cause
            cause = getattr(cause, "_base_exc", None) or getattr(cause, "cause", None) or cause.__cause__
    return RunError(str(error))
