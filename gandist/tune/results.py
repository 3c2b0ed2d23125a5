"""The output of a sweep: `trials.parquet`, `best.yaml` and its table for the terminal."""

import json
import math
from collections.abc import Collection, Iterable
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gandist.cli.text import number, text_table
from gandist.config.schedule import images_of
from gandist.storage.storage import Storage
from gandist.tune.sweep import Plan, trial_config
from gandist.tune.trial import TRIALS, result_of, run_name
from gandist.tune.trials import UNFINISHED, Findings, TrialRecord, TrialState, read_trial

TABLE, BEST = "trials.parquet", "best.yaml"
SHOWN = 30
"""Maximum rows of the table on a terminal."""


class Tuned(Protocol):
    """The attributes used from Ray Tune's record of a trial."""

    trial_id: str
    status: str
    config: dict[str, Any]
    last_result: dict[str, Any]

    def get_error(self) -> Exception | None: ...


def findings(plan: Plan, storage: Storage, tuned: Iterable[Tuned], interrupted: Collection[str]) -> Findings:
    """The results of the sweep in `storage` so far; `interrupted` are ids of trials that ended with their driver."""
    sweep, base = plan.sweep, plan.base
    return Findings(
        name=sweep.name,
        metrics=plan.metrics,
        space={path: domain.model_dump(mode="json", exclude_defaults=True) for path, domain in sweep.space.items()},
        search={
            "Configuration": sweep.config,
            "Searcher": sweep.searcher,
            "Scheduler": sweep.scheduler.kind,
            "Seed": str(sweep.seed),
            "Budget of a trial": f"{base.train.total_kimg:g} kimg, measured every {base.eval.every_kimg:g}",
            "Workers of a trial": str(base.worker_range[0]) if base.launch.kind == "ray" else "1",
        },
        total_images=math.ceil(base.train.total_kimg * 1000),
        trials=[_read(plan, storage, each, each.trial_id in interrupted) for each in tuned],
    )


def _read(plan: Plan, storage: Storage, tuned: Tuned, interrupted: bool) -> TrialRecord:
    name = run_name(tuned.trial_id)
    run, params = Storage(storage.uri(f"{TRIALS}/{name}")), dict(tuned.config["point"])
    return read_trial(run, name, params, *_end(tuned, interrupted), list(plan.metrics))


def _end(tuned: Tuned, interrupted: bool) -> tuple[TrialState, str]:
    """A trial's state, and the reason for its failure."""
    told = tuned.last_result or {}
    if told.get("state", "running") != "running":
        return told["state"], told["reason"]
    if tuned.status == "ERROR":
        return "crashed", str(tuned.get_error() or "its process was lost").strip().splitlines()[-1]
    if interrupted:
        return "paused", ""
    ways: dict[str, TrialState] = {"TERMINATED": "stopped", "RUNNING": "running", "PAUSED": "paused"}
    return ways.get(tuned.status, "pending"), ""


def table(found: Findings) -> pa.Table:
    """A row per trial, best first: its name, parameters by configuration path, metrics, state and cost."""
    ranked = found.ranked()
    columns: dict[str, list[Any]] = {"trial": [trial.name for trial in ranked]}
    for path in found.space:
        columns[path] = _column([trial.params.get(path) for trial in ranked])
    for metric in found.metrics:
        columns[metric] = [trial.value(metric) for trial in ranked]
    columns |= {
        "state": [trial.state for trial in ranked],
        "reason": [trial.reason for trial in ranked],
        "images": [trial.images_seen for trial in ranked],
        "train_s": [trial.train_s for trial in ranked],
        "run": [trial.run for trial in ranked],
    }
    return pa.table(columns)


def _column(values: list[Any]) -> list[Any]:
    """Values of one type for a Parquet column: numbers unchanged, mixed or nested values as JSON."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return [None if value is None else float(value) for value in values]
    if all(isinstance(value, str) for value in there) or all(isinstance(value, bool) for value in there):
        return values
    return [None if value is None else json.dumps(value, sort_keys=True) for value in values]


def write_table(found: Findings, storage: Storage) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table(found), sink)
    storage.write_bytes(TABLE, sink.getvalue().to_pybytes())


def finished(plan: Plan, storage: Storage) -> dict[str, list[dict[str, float]]]:
    """The reports of trials that ended under an earlier driver, in the form of Ray's schedulers, by trial name."""
    written = storage.read_bytes(TABLE)
    if written is None:
        return {}
    rows = pq.read_table(pa.BufferReader(written)).to_pylist()
    ended = [row["trial"] for row in rows if row["state"] not in UNFINISHED]
    every = images_of(plan.base.eval.every_kimg or math.inf)
    curves: dict[str, list[dict[str, float]]] = {}
    for name in ended:
        trial = read_trial(Storage(storage.uri(f"{TRIALS}/{name}")), name, {}, "done", "", list(plan.metrics))
        curves[name] = [result_of(p.values, plan.metrics, p.images_seen, every) for p in trial.curve]
    return curves


def write_best(plan: Plan, found: Findings, storage: Storage) -> bool:
    """Write the best trial's complete configuration for a run of its own; return whether there is a best trial."""
    best = found.best()
    if best is None:
        return False
    base = plan.origin["run"]
    config = trial_config(plan.origin, best.params, base["dir"], f"{plan.sweep.name}-best")
    lines = [
        f"# The best of {len(found.trials)} trials of the sweep {found.name}: trial {best.name},",
        f"# {found.metric} {best.value(found.metric):.4g} at {best.images_seen / 1000:g} kimg.",
        *(["# Its values changed on the way (population-based training); these are the last."] if best.lineage else []),
    ]
    text = "\n".join(lines) + "\n" + yaml.safe_dump(config.resolved(), sort_keys=False)
    storage.write_bytes(BEST, text.encode())
    return True


def terminal(found: Findings) -> str:
    """The table for people: the best first, short numbers, at most `SHOWN` trials."""
    paths = list(found.space)
    head = ["trial", "state", *found.metrics, "kimg", *paths]
    rows = [
        [
            trial.name,
            trial.state,
            *(_short(trial.value(metric)) for metric in found.metrics),
            f"{trial.images_seen / 1000:g}",
            *(_short(trial.params.get(path)) for path in paths),
        ]
        for trial in found.ranked()[:SHOWN]
    ]
    more = f"\n... and {len(found.trials) - SHOWN} more in {TABLE}" if len(found.trials) > SHOWN else ""
    return text_table([head, *rows]) + more


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number(value, 4)
    return value if isinstance(value, str) else json.dumps(value)
