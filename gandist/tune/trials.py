"""The results of a sweep: each trial's parameters, measurements and end, read from its run's files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gandist.run.progress import METRICS_FILE, decode
from gandist.storage.storage import Storage

Direction = Literal["min", "max"]
TrialState = Literal[
    "pending",
    "running",
    "paused",
    "done",
    "stopped",
    "overfitting",
    "unfaithful",
    "collapsing",
    "diverged",
    "crashed",
]
"""`STATES` of `metrics.py`."""
UNFINISHED = ("pending", "running", "paused")
FAILED = ("overfitting", "unfaithful", "collapsing", "diverged", "crashed")
LINEAGE_FILE = "lineage.jsonl"
"""File in a trial's run: a line per takeover of another's weights."""


class Point(NamedTuple):
    """A measurement of a trial."""

    images_seen: int
    values: dict[str, float]
    """By metric; not finite if the run had diverged."""


class Taken(NamedTuple):
    """A trial's takeover of another's weights (population-based training)."""

    images_seen: int
    """Images seen at the donor's checkpoint, from which the trial continues."""
    donor: str
    params: dict[str, Any]
    """The trial's parameters from then on."""


@dataclass(frozen=True)
class TrialRecord:
    name: str
    run: str
    """Folder or address of its run."""
    params: dict[str, Any]
    """The searched values, by configuration path; the last ones if they changed during the run."""
    state: TrialState
    reason: str
    curve: list[Point]
    """Its measurements, oldest first."""
    images_seen: int
    train_s: float
    lineage: list[Taken]

    def value(self, metric: str, images_seen: int | None = None) -> float | None:
        """The last measurement, or the one at `images_seen`; None if it is missing or not finite."""
        points = [point for point in self.curve if images_seen is None or point.images_seen == images_seen]
        value = points[-1].values.get(metric, math.nan) if points else math.nan
        return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Findings:
    """A sweep, finished or not."""

    name: str
    metrics: dict[str, Direction]
    """The first metric ranks the trials."""
    space: dict[str, Any]
    """The sweep file's `space`, by configuration path, as plain data."""
    search: dict[str, str]
    """The search for people: scheduler, searcher, seed, base configuration, budget, ..."""
    total_images: int
    """Budget of a trial."""
    trials: list[TrialRecord]

    @property
    def metric(self) -> str:
        return next(iter(self.metrics))

    def ranked(self) -> list[TrialRecord]:
        """Best first, by the last measurement of the first metric; trials without one, or failed, at the end."""
        sign = 1 if self.metrics[self.metric] == "min" else -1

        def place(trial: TrialRecord) -> tuple[bool, bool, float]:
            value = trial.value(self.metric)
            return trial.state in FAILED, value is None, sign * (value or 0.0)

        return sorted(self.trials, key=place)

    def best(self) -> TrialRecord | None:
        """The best trial that did not fail; None if there is none."""
        first = next(iter(self.ranked()), None)
        return first if first and first.state not in FAILED and first.value(self.metric) is not None else None

    def front(self) -> list[TrialRecord]:
        """The trials that no other trial beats in every metric (the Pareto front), best of the first metric first."""
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
        """The most images at which all trials that did not fail have a measurement: a comparison on equal terms. Trials
        without any measurement do not count, so that a new trial does not reset it."""
        sound = [trial for trial in self.trials if trial.curve and trial.state not in FAILED]
        seen = [{point.images_seen for point in trial.curve} for trial in sound]
        return max(set.intersection(*seen), default=None) if seen else None

    def images(self) -> int:
        """Images shown to all discriminators in total."""
        return sum(trial.images_seen for trial in self.trials)

    def saving(self) -> float:
        """Share of images that the scheduler saved, of those that all trials would have taken to their ends."""
        return 1 - self.images() / (self.total_images * len(self.trials)) if self.trials else 0.0


def read_trial(
    storage: Storage, name: str, params: dict[str, Any], state: TrialState, reason: str, metrics: Sequence[str]
) -> TrialRecord:
    """Read a trial from its run's files, which may not exist yet."""
    rows = decode(storage.read_bytes(METRICS_FILE) or b"")
    lineage = [Taken(**line) for line in decode(storage.read_bytes(LINEAGE_FILE) or b"")]
    seen = rows[-1]["images_seen"] if rows else 0
    return TrialRecord(
        name, storage.root, params, state, reason, measured(rows, metrics), seen, duration_s(rows), lineage
    )


TRAIN_S = "train_s"
"""Name of the run time as a metric: seconds of training and evaluation so far."""


def measured(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[Point]:
    """The measurements in the rows of `metrics.jsonl`; NaN for values that are missing or not finite."""
    points = []
    for i, row in enumerate(rows):
        if any(key.startswith("quality/") for key in row):
            values = row | ({TRAIN_S: duration_s(rows[: i + 1])} if TRAIN_S in metrics else {})
            found = {metric: values.get(metric) for metric in metrics}
            points.append(Point(row["images_seen"], {k: math.nan if v is None else float(v) for k, v in found.items()}))
    return points


def duration_s(rows: Sequence[dict[str, Any]]) -> float:
    """Seconds of training and evaluation, over all attempts."""
    return float(sum(row["tick_s"] + row.get("eval_s", 0.0) for row in rows))
