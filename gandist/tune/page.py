"""A sweep as one HTML page."""

import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from gandist.cli.text import number
from gandist.media.medium import Preview
from gandist.report.document import document, duration
from gandist.run import previews
from gandist.storage.storage import Storage
from gandist.tune.importance import importance
from gandist.tune.lineage import lineage
from gandist.tune.parameters import said
from gandist.tune.plots import by_parameter, curves, front, parallel
from gandist.tune.trials import FAILED, Findings, TrialRecord


class Grid(NamedTuple):
    title: str
    text: str
    params: str
    preview: Preview


class Cell(NamedTuple):
    text: str
    by: str
    """Sort key; empty if there is no value, which sorts last."""


NOTHING = Cell("-", "")


class TrialRow(NamedTuple):
    trial: TrialRecord
    told: str
    """Readout for the trial under the pointer."""
    cells: list[Cell]


def page(findings: Findings) -> str:
    """The page of a sweep, finished or not; it contains everything it shows."""
    measured = any(trial.value(findings.metric) is not None for trial in findings.trials)
    return document(
        Path(__file__).parent,
        found=findings,
        facts=_facts(findings),
        best=_best(findings),
        at=findings.common_images(),
        curves=curves(findings) if measured else None,
        parallel=parallel(findings) if measured else None,
        front=front(findings) if measured else None,
        on_front=[(trial.name, _values(findings, trial)) for trial in findings.front()],
        by_parameter=by_parameter(findings),
        importance=importance(findings),
        lineage=lineage(findings),
        grids=_grids(findings),
        rows=[_row(findings, trial) for trial in findings.ranked()],
    )


def _facts(findings: Findings) -> dict[str, str]:
    states = Counter(trial.state for trial in findings.trials)
    return {
        "Trials": ", ".join(f"{n} {state}" for state, n in states.most_common()) or "none yet",
        "Sought": ", ".join(f"{metric} ({mode})" for metric, mode in findings.metrics.items()),
        **findings.search,
        "Images shown": f"{findings.images():,} of {findings.total_images * len(findings.trials):,}",
        "Saved": f"{findings.saving():.0%} of what all trials to their end would have taken",
        "Training and measuring": duration(sum(trial.train_s for trial in findings.trials)),
    }


def _best(findings: Findings) -> dict[str, str]:
    """The best trial, compared with the median trial: at the end of each, and at equal numbers of images."""
    best, metric = findings.best(), findings.metric
    if best is None:
        return {}
    ends = [value for trial in findings.trials if (value := trial.value(metric)) is not None]
    facts = {
        "Best trial": f"{best.name}: {_values(findings, best)}, in {best.run}",
        "Its parameters": _params(best),
        "It took": f"{best.images_seen:,} images, {duration(best.train_s)}",
        "Median of the last measurements": f"{number(statistics.median(ends), 4)}, of {len(ends)} trials",
    }
    at = findings.common_images()
    level = [value for trial in findings.trials if at and (value := trial.value(metric, at)) is not None]
    if at and level:
        first = min(level) if findings.metrics[metric] == "min" else max(level)
        facts[f"At {at / 1000:g} kimg, which all reached"] = (
            f"best {number(first, 4)}, median {number(statistics.median(level), 4)}, of {len(level)} trials"
        )
    return facts


def _params(trial: TrialRecord) -> str:
    return ", ".join(f"{path} {said(value)}" for path, value in trial.params.items())


def _value(trial: TrialRecord, metric: str) -> str:
    value = trial.value(metric)
    return "-" if value is None else number(value, 4)


def _values(findings: Findings, trial: TrialRecord) -> str:
    """The metrics of a trial; the first, which ranks trials, has no name if it is the only one."""
    if len(findings.metrics) == 1:
        return _value(trial, findings.metric)
    return ", ".join(f"{metric} {_value(trial, metric)}" for metric in findings.metrics)


def _row(findings: Findings, trial: TrialRecord) -> TrialRow:
    values = [trial.value(metric) for metric in findings.metrics]
    told = f"{_values(findings, trial)}, {trial.state} at {trial.images_seen / 1000:g} kimg; {_params(trial)}"
    return TrialRow(
        trial,
        told,
        [
            *(NOTHING if value is None else Cell(number(value, 4), repr(value)) for value in values),
            *(_cell(trial.params[path]) if path in trial.params else NOTHING for path in findings.space),
            _best_on_the_way(findings, trial),
            Cell(f"{trial.images_seen / 1000:g}", str(trial.images_seen)),
            Cell(f"{trial.train_s:.0f}", str(trial.train_s)),
        ],
    )


def _cell(value: Any) -> Cell:
    return Cell(said(value), repr(value) if isinstance(value, float) else said(value))


def _best_on_the_way(findings: Findings, trial: TrialRecord) -> Cell:
    sign = 1 if findings.metrics[findings.metric] == "min" else -1
    points = [(point.values.get(findings.metric, math.nan), point.images_seen) for point in trial.curve]
    finite = [point for point in points if math.isfinite(point[0])]
    if not finite:
        return NOTHING
    value, seen = min(finite, key=lambda point: sign * point[0])
    return Cell(f"{number(value, 4)} at {seen / 1000:g}", repr(value))


def _grids(findings: Findings) -> list[Grid]:
    """The newest samples of the best trial, of the worst, and of the last failed one."""
    ranked = findings.ranked()
    sound = [trial for trial in ranked if trial.state not in FAILED and trial.value(findings.metric) is not None]
    failed = [trial for trial in ranked if trial.state in FAILED]
    chosen = [("Best", sound[:1]), ("Worst", sound[1:][-1:]), ("Failed", failed[-1:])]
    grids = []
    for title, trials in chosen:
        for trial in trials:
            storage = Storage(trial.run)
            newest = [*previews.listed(storage).values()][-1:]
            for listed in newest:
                text = f"trial {trial.name}, {trial.state}, {findings.metric} {_value(trial, findings.metric)}"
                grids.append(Grid(title, text, _params(trial), previews.read(storage, listed.file)))
    return grids
