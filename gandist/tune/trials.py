"""What a sweep has found out: each trial's parameters, its measurements and how it ended, read from its run's files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gandist.progress import METRICS_FILE, decode
from gandist.storage import Storage

Mode = Literal["min", "max"]
State = Literal["pending", "running", "paused", "done", "stopped", "collapsing", "diverged", "crashed"]
"""`STATES` of `metrics.py`."""
UNFINISHED = ("pending", "running", "paused")
FAILED = ("collapsing", "diverged", "crashed")
LINEAGE_FILE = "lineage.jsonl"
"""In a trial's run: a line for each time that it took over another's weights."""


class Point(NamedTuple):
    """A measurement of a trial."""

    images_seen: int
    values: dict[str, float]
    """By metric; not finite where the run had come apart."""


class Taken(NamedTuple):
    """A trial's taking over of another's weights (population-based training)."""

    images_seen: int
    """At the donor's checkpoint, from which the trial went on."""
    donor: str
    params: dict[str, Any]
    """The trial's parameters from there on."""


@dataclass(frozen=True)
class Trial:
    name: str
    run: str
    """Folder or address of its run."""
    params: dict[str, Any]
    """What was searched, by configuration path; the last values where they changed during the run."""
    state: State
    reason: str
    curve: list[Point]
    """Its measurements, oldest first."""
    images_seen: int
    train_s: float
    lineage: list[Taken]

    def value(self, metric: str, images_seen: int | None = None) -> float | None:
        """The last measurement, or that at `images_seen`; None where there is none, or it was not finite."""
        points = [point for point in self.curve if images_seen is None or point.images_seen == images_seen]
        value = points[-1].values.get(metric, math.nan) if points else math.nan
        return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Findings:
    """A sweep, finished or not."""

    name: str
    metrics: dict[str, Mode]
    """The first is what trials are ranked by."""
    space: dict[str, Any]
    """The sweep file's `space`, by configuration path, as plain data."""
    search: dict[str, str]
    """How it was searched, for people: scheduler, searcher, seed, base configuration, budget, ..."""
    total_images: int
    """Budget of a trial."""
    trials: list[Trial]

    @property
    def metric(self) -> str:
        return next(iter(self.metrics))

    def ranked(self) -> list[Trial]:
        """Best first, by the last measurement of the first metric; at the end those that have none or failed."""
        sign = 1 if self.metrics[self.metric] == "min" else -1

        def place(trial: Trial) -> tuple[bool, bool, float]:
            value = trial.value(self.metric)
            return trial.state in FAILED, value is None, sign * (value or 0.0)

        return sorted(self.trials, key=place)

    def best(self) -> Trial | None:
        """The best trial that did not fail; None where there is none."""
        first = next(iter(self.ranked()), None)
        return first if first and first.state not in FAILED and first.value(self.metric) is not None else None

    def front(self) -> list[Trial]:
        """The trials that no other beats in every metric (the Pareto front), best of the first metric first."""
        signs = {metric: 1 if mode == "min" else -1 for metric, mode in self.metrics.items()}
        sound = [
            (trial, [sign * value for metric, sign in signs.items() if (value := trial.value(metric)) is not None])
            for trial in self.ranked()
            if trial.state not in FAILED
        ]
        whole = [(trial, scores) for trial, scores in sound if len(scores) == len(signs)]
        return [
            trial
            for trial, mine in whole
            if not any(other != mine and all(o <= m for o, m in zip(other, mine, strict=True)) for _, other in whole)
        ]

    def common_images(self) -> int | None:
        """The most images at which all trials that did not fail were measured: there they compare on equal terms."""
        measured = [{point.images_seen for point in trial.curve} for trial in self.trials if trial.state not in FAILED]
        return max(set.intersection(*measured), default=None) if measured else None

    def images(self) -> int:
        """Images that were shown to all discriminators together."""
        return sum(trial.images_seen for trial in self.trials)

    def saving(self) -> float:
        """Share of the images that running every trial to its end would have taken, and the scheduler saved."""
        return 1 - self.images() / (self.total_images * len(self.trials)) if self.trials else 0.0


def read_trial(
    storage: Storage, name: str, params: dict[str, Any], state: State, reason: str, metrics: Sequence[str]
) -> Trial:
    """A trial as its run's files tell it; there may be none yet."""
    rows = decode(storage.read_bytes(METRICS_FILE) or b"")
    elapsed_s, curve = 0.0, []
    for row in rows:
        elapsed_s += row["tick_s"] + row.get("eval_s", 0.0)
        if any(key.startswith("quality/") for key in row):
            curve.append(Point(row["images_seen"], measured(row, metrics, elapsed_s)))
    lineage = [Taken(**line) for line in decode(storage.read_bytes(LINEAGE_FILE) or b"")]
    seen = rows[-1]["images_seen"] if rows else 0
    return Trial(name, storage.root, params, state, reason, curve, seen, elapsed_s, lineage)


TRAIN_S = "train_s"
"""The metric that a run's time is: seconds of training and measuring so far."""


def measured(row: dict[str, Any], metrics: Sequence[str], elapsed_s: float) -> dict[str, float]:
    """The metrics of a row of `metrics.jsonl`; NaN for what was not finite, or not there."""
    values = {metric: row.get(metric) for metric in metrics} | {TRAIN_S: elapsed_s}
    return {
        metric: math.nan if value is None else float(value) for metric, value in values.items() if metric in metrics
    }
