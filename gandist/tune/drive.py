"""The driver of a sweep: runs Ray Tune over the trials, from the start or after the loss of an earlier driver."""

import json
import logging
import math
import os
import signal
from contextlib import ExitStack
from typing import Any

import yaml
from ray import tune

from gandist.config import extensions
from gandist.config.methods import check_perceptual
from gandist.config.run import leaves
from gandist.data import dataset
from gandist.errors import ConfigError, RunError
from gandist.evaluation.evaluator import check_evaluation
from gandist.launch.ray import connect, resources_of
from gandist.launch.resumption import Resume, set_aside, writable
from gandist.launch.supervise import stop_on_signals
from gandist.monitoring.telemetry import SweepTelemetry, announce, target
from gandist.storage.storage import Storage
from gandist.tune import state
from gandist.tune.page import page
from gandist.tune.results import BEST, TABLE, findings, finished, terminal, write_best, write_table
from gandist.tune.room import concurrent, limit, nodes, workers_of
from gandist.tune.search import recall, scheduler, searcher
from gandist.tune.sweep import Plan, sweep_root
from gandist.tune.trial import Trial, resources
from gandist.tune.trials import UNFINISHED
from gandist.tune.watch import Watch

log = logging.getLogger("gandist")

FILE, REPORT = "sweep.json", "report.html"
MAY_CHANGE = ("concurrent", "config", "dir", "set", "launch.", "telemetry.", "track.")
"""Keys of the sweep and fields of the configuration that may differ when a sweep is resumed. Fields are compared
after `set` is applied."""
ENVIRONMENT = {
    # The default would lose the trials of about the last ten seconds when the driver is killed.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the runs have their own loggers
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Ray prints its banner at any verbosity
}
LOST = 3
"""Number of restarts of a trial's lost process (node failure, out of memory)."""


def show(plan: Plan) -> None:
    """Print the common configuration of all trials, and the points of the trials if they are known."""
    print(yaml.safe_dump(plan.tree, sort_keys=False))  # noqa: T201
    for number, values in enumerate(plan.points or ()):
        print(f"{number:05d} {json.dumps(values)}")  # noqa: T201
    if plan.points is None:
        print(f"{plan.trials} trials, made up by {plan.sweep.searcher} as they go")  # noqa: T201


def drive(plan: Plan, resume: Resume) -> int:
    """Run the sweep to its end; return the exit status.

    Raises:
        GandistError: data, storage or room for trials is missing.
        RunError: no trial produced a measurement.
    """
    base = dataset.with_symbols(plan.base)
    check_evaluation(base, dataset.open_index(base))
    check_perceptual(base)
    storage, started = prepare(plan, resume)
    os.environ.update(ENVIRONMENT | dict(os.environ))
    connect(math.ceil(workers_of(base) * base.launch.resources.get("CPU", 1)), log_to_driver=False, dashboard=True)
    at_once = concurrent(plan, resources_of(base), nodes(base.launch.labels))
    log.info("sweep=%s trials=%d at_once=%d folder=%s", plan.sweep.name, plan.trials, at_once, storage.root)
    with ExitStack() as closing:
        watch = Watch(plan, storage, _serve(plan, storage, closing))
        closing.enter_context(stop_on_signals(lambda: os.kill(os.getpid(), signal.SIGINT), [signal.SIGTERM]))
        _tune(plan, storage, at_once, watch, started)
    found = findings(plan, storage, watch.tuned, watch.interrupted)
    write_table(found, storage)
    answered = write_best(plan, found, storage)
    try:
        storage.write_bytes(REPORT, page(found).encode())
    except Exception as error:  # not a failure of the sweep, whose results are written
        log.warning("no report: %s: %s", type(error).__name__, error)
    print(terminal(found))  # noqa: T201
    if len(found.trials) < plan.trials or any(trial.state in UNFINISHED for trial in found.trials):
        log.warning("stopped sweep=%s: the same command goes on with it", plan.sweep.name)
        return 143
    if not answered:
        raise RunError(f"no trial of {len(found.trials)} survived with a {found.metric}; see {storage.uri(TABLE)}")
    log.info(
        "done sweep=%s best=%s images=%d saved=%.0f%%%s",
        plan.sweep.name,
        found.ranked()[0].name,
        found.images(),
        100 * found.saving(),
        "".join(f"\n  {name}" for name in map(storage.uri, (TABLE, BEST, REPORT))),
    )
    return 0


def prepare(plan: Plan, resume: Resume) -> tuple[Storage, bool]:
    """The sweep's storage, and whether there is a sweep to resume.

    Raises:
        ConfigError: the storage holds another sweep, or cannot be written to; or `resume` is `must`, and there is no
            sweep.
    """
    root = sweep_root(plan.sweep)
    if resume == "never":
        set_aside(writable(root))
    storage = writable(root)
    sweep = plan.sweep.model_dump(mode="json")
    now = {"sweep": {**sweep, "trials": plan.trials}, "config": plan.tree}
    before = storage.read_bytes(FILE)
    if before is not None:
        changed = [path for path in _changed(json.loads(before), now) if not path.startswith(MAY_CHANGE)]
        if changed:
            raise ConfigError(
                f"{root}: was started as another sweep: {', '.join(changed)}; change them back, choose another name, "
                "or begin anew with --resume never"
            )
    elif resume == "must":
        raise ConfigError(f"{root}: no sweep to resume (--resume must); leave this out to begin it")
    storage.write_bytes(FILE, json.dumps(now, indent=1).encode())
    return storage, state.resumable(storage)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Keys of the sweep and fields of its configuration that differ."""
    parts = ((before["sweep"], now["sweep"]), (dict(leaves(before["config"])), dict(leaves(now["config"]))))
    return [key for old, new in parts for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def _serve(plan: Plan, storage: Storage, closing: ExitStack) -> SweepTelemetry | None:
    """Serve the driver's metrics, announced like those of a run."""
    chosen = plan.base.telemetry
    if not chosen.enabled:
        return None
    try:
        telemetry = SweepTelemetry(plan.sweep.name, chosen.host, chosen.port, chosen.dir)
    except ImportError:
        log.warning("prometheus-client is not installed: this sweep serves no metrics (pip install prometheus-client)")
        return None
    closing.callback(telemetry.close)
    if storage.local is not None:
        announce(storage.local, [target(chosen.host, telemetry.port)])
    return telemetry


def _tune(plan: Plan, storage: Storage, at_once: int, watch: Watch, started: bool) -> None:
    """Run Ray Tune over the trials. It keeps its own state in the sweep's folder, and resumes from it."""
    job = {
        "config": plan.tree,
        "root": storage.root,
        "metrics": plan.metrics,
        "imports": extensions.sources(plan.base.imports),
    }
    # Ray Tune warns of missing files of the disabled loggers.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    points = {} if plan.points is None else {"point": tune.grid_search(plan.points)}
    judge = scheduler(plan)
    if started:
        recall(judge, finished(plan, storage))
    tune.run(
        Trial,
        name=state.FOLDER,
        storage_path=storage.path,
        storage_filesystem=storage.filesystem,
        config={"job": job, **points},
        num_samples=plan.trials if plan.points is None else 1,
        resources_per_trial=resources(plan.base),
        search_alg=searcher(plan),
        scheduler=judge,
        callbacks=[watch],
        max_failures=LOST,
        max_concurrent_trials=limit(plan, at_once),
        resume="AUTO" if started else None,
        reuse_actors=True,
        raise_on_failed_trial=False,
        trial_name_creator=lambda trial: trial.trial_id,
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
    )
