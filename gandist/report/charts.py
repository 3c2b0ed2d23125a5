"""The charts of runs' rows: which numbers share a chart, and what it is called."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from gandist.cli.text import number
from gandist.report.curves import Chart, Curve, Level, Moment, Points, chart
from gandist.report.measured import baseline
from gandist.report.recorded import RecordedRun
from gandist.report.wording import FRECHET, filled, label_of, place_of, title_of

LEFT_OUT = ("quality/kid_se",)
TOLD_IF_CHANGING = ("Probability of augmentation p", "Skipped steps so far", "Workers")


def charts(runs: Sequence[RecordedRun], names: Sequence[str], many: str = "images") -> list[Chart]:
    """A chart per group of the rows' numbers, with all runs in the same chart; `many`: what samples are called."""
    rows = [[_derived(row, many) for row in run.rows] for run in runs]
    keys = list(dict.fromkeys(key for row in (row for each in rows for row in each) for key in row if "/" in key))
    keys = sorted((key for key in keys if key not in LEFT_OUT), key=place_of)
    several = len(runs) > 1
    marks = [
        Moment(mark.images_seen / 1000, mark.kind, f"{name}, {mark.text}" if several else mark.text)
        for name, run in zip(names, runs, strict=True)
        for mark in run.marks()
    ]
    found: list[Chart] = []
    for title, grouped in groupby(keys, key=title_of):
        group = list(grouped)
        curves = [
            Curve(f"{names[run]} {label_of(key, many)}" if several else label_of(key, many), run, series, points)
            for series, key in enumerate(group)
            for run, each in enumerate(rows)
            if (points := _points(each, key))
        ]
        values = {y for curve in curves for _, y in curve.points if y is not None}
        constant = title in TOLD_IF_CHANGING and len(values) == 1
        if values and not constant:
            levels = [*(_floors(runs, names) if title == FRECHET else ()), *_baselines(runs, names, group)]
            found.append(chart(filled(title, many), curves, marks, several, levels))
    return found


def _floors(runs: Sequence[RecordedRun], names: Sequence[str]) -> list[Level]:
    """The lower bounds of a generator's distance; runs with equal bounds share one."""
    found: dict[Level, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        protocol = run.evaluations[-1]["protocol"] if run.evaluations else {}
        if isinstance(value := protocol.get("floor"), int | float):
            level = Level(value, f"Floor {number(value)}: {protocol.get('floor_is', '')}")
            found.setdefault(level, []).append(name)
    return [
        level if len(found) == 1 else level._replace(text=f"{', '.join(of)}: {level.text}")
        for level, of in found.items()
    ]


def _baselines(runs: Sequence[RecordedRun], names: Sequence[str], keys: Sequence[str]) -> list[Level]:
    """The values of what needs no learning, for these keys of rows; runs with equal values share one."""
    found: dict[Level, dict[str, None]] = {}
    for name, run in zip(names, runs, strict=True):
        baselines = run.evaluations[-1].get("baselines", {}) if run.evaluations else {}
        for what, measures in baselines.items():
            here = {measure: measures[measure] for key in keys if (measure := key.removeprefix("quality/")) in measures}
            for measure, value in here.items():
                if isinstance(value, int | float):
                    of = f"{measure}, " if len({*here.values()}) > 1 else ""
                    found.setdefault(Level(value, of + baseline(what, value)), {})[name] = None
    return [
        level if len(of) == len(runs) else level._replace(text=f"{', '.join(of)}: {level.text}")
        for level, of in found.items()
    ]


def _derived(row: dict[str, Any], many: str) -> dict[str, Any]:
    """A row with additional values computed from its numbers."""
    shares = {
        f"waiting/{what}": row[key] / row["tick_s"]
        for what, key in (("data", "data_wait_s"), ("checkpoint", "checkpoint_stall_s"))
        if row.get(key) is not None and row.get("tick_s")
    }
    renamed = {f"speed/{many} a second": row.get("img_per_s"), "workers/workers": row.get("world_size")}
    return {**row, **shares, **{key: value for key, value in renamed.items() if value is not None}}


def _points(rows: list[dict[str, Any]], key: str) -> Points:
    """(kimg, value) of the rows that have the number; None for a value that is not finite."""
    kept = [(row["images_seen"] / 1000, row[key]) for row in rows if key in row]
    return [(x, y) for x, y in kept if y is None or isinstance(y, int | float)]
