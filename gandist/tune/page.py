"""A sweep as one HTML page."""

import statistics
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from gandist.report.charts import number
from gandist.report.document import document, duration
from gandist.storage import Storage
from gandist.tune.importance import importance
from gandist.tune.parameters import common_images, said
from gandist.tune.plots import Plot, by_parameter, curves, front, lineage, parallel
from gandist.tune.trials import FAILED, Findings, Trial

SAMPLES = "samples"


class Grid(NamedTuple):
    title: str
    text: str
    png: bytes


class Row(NamedTuple):
    trial: Trial
    values: list[str]
    params: list[str]
    best: str


def page(findings: Findings) -> str:
    """The page of a sweep, finished or not; it holds all that it shows."""
    measured = any(trial.value(findings.metric) is not None for trial in findings.trials)
    return document(
        Path(__file__).parent,
        found=findings,
        facts=_facts(findings),
        at=common_images(findings),
        plots=[each for each in (curves(findings), front(findings)) if each] if measured else [],
        wide=_wide(findings) if measured else [],
        by_parameter=by_parameter(findings),
        importance=importance(findings),
        grids=_grids(findings),
        rows=[_row(findings, trial) for trial in findings.ranked()],
        failed=FAILED,
    )


def _wide(findings: Findings) -> list[Plot]:
    return [each for each in (parallel(findings), lineage(findings)) if each]


def _facts(findings: Findings) -> dict[str, str]:
    states = Counter(trial.state for trial in findings.trials)
    facts = {
        "Trials": ", ".join(f"{n} {state}" for state, n in states.most_common()),
        **findings.search,
        "Images shown": f"{findings.images():,}",
        "Saved": f"{findings.saving():.0%} of what all trials to their end would have taken",
        "Training and measuring": duration(sum(trial.train_s for trial in findings.trials)),
    }
    best = findings.best()
    if best is not None:
        values = sorted(v for trial in findings.trials if (v := trial.value(findings.metric)) is not None)
        facts["Best trial"] = f"{best.name}: {_value(best, findings.metric)}, in {best.run}"
        facts["Median of the last measurements"] = number(statistics.median(values), 4)
        at = common_images(findings)
        level = [v for trial in findings.trials if at and (v := trial.value(findings.metric, at)) is not None]
        if at and level:
            facts[f"At {at / 1000:g} kimg, which all reached"] = (
                f"best {number((min if findings.metrics[findings.metric] == 'min' else max)(level), 4)}, "
                f"median {number(statistics.median(level), 4)}"
            )
    return facts


def _value(trial: Trial, metric: str) -> str:
    value = trial.value(metric)
    return "-" if value is None else number(value, 4)


def _row(findings: Findings, trial: Trial) -> Row:
    sign = 1 if findings.metrics[findings.metric] == "min" else -1
    points = [(sign * value, point) for point in trial.curve if (value := point.values[findings.metric]) == value]
    low = min(points, key=lambda pair: pair[0], default=None)
    best = f"{number(sign * low[0], 4)} at {low[1].images_seen / 1000:g}" if low else "-"
    params = [said(trial.params[path]) if path in trial.params else "-" for path in findings.space]
    return Row(trial, [_value(trial, metric) for metric in findings.metrics], params, best)


def _grids(findings: Findings) -> list[Grid]:
    """The newest samples of the best trial, the worst, and the last that failed."""
    ranked = findings.ranked()
    sound = [trial for trial in ranked if trial.state not in FAILED and trial.value(findings.metric) is not None]
    failed = [trial for trial in ranked if trial.state in FAILED]
    chosen = [("Best", sound[:1]), ("Worst", sound[1:][-1:]), ("Failed", failed[-1:])]
    grids = []
    for title, trials in chosen:
        for trial in trials:
            storage = Storage(trial.run)
            names = [name for name in storage.files(SAMPLES) if name.endswith(".png")]
            png = storage.read_bytes(f"{SAMPLES}/{names[-1]}") if names else None
            if png is not None:
                text = f"trial {trial.name}, {trial.state}, {findings.metric} {_value(trial, findings.metric)}"
                grids.append(Grid(title, text, png))
    return grids
