"""Curves as shapes to draw: converts points to paths, ticks and marks in the coordinates of a small SVG.

This is own code, because a page must hold its charts without a network, and plotting libraries for this bring
megabytes of script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from gandist.cli.text import number
from gandist.report.axes import BOTTOM, DECADES, HEIGHT, LEFT, RIGHT, TOP, WIDTH, AxisTick, decades, spelled, ticks
from gandist.report.measured import baseline
from gandist.report.recorded import Mark, RecordedRun
from gandist.report.wording import FRECHET, filled, label_of, place_of, title_of

MOST_POINTS = 300
"""Maximum points per curve; longer curves are thinned, keeping their extremes."""

LEFT_OUT = ("quality/kid_se",)
TOLD_IF_CHANGING = ("Probability of augmentation p", "Skipped steps so far", "Workers")
NEAR = 10
"""A level is drawn if the curves come within this factor of it."""
MOST_DOTS = 20
"""Maximum points of a curve for which each point gets a mark."""

Points = list[tuple[float, float | None]]


class Curve(NamedTuple):
    label: str
    run: int
    series: int
    points: Points


class Path(NamedTuple):
    label: str
    colour: int
    dash: int
    d: str
    dots: str


class Level(NamedTuple):
    """A constant value."""

    value: float
    text: str


class Line(NamedTuple):
    """A level as a line across a chart; only as text if it lies far from the curves, since it would flatten them."""

    at: float | None
    text: str


@dataclass(frozen=True)
class Chart:
    title: str
    summary: str
    """Description of the chart in words."""
    paths: list[Path]
    x_ticks: list[AxisTick]
    y_ticks: list[AxisTick]
    marks: list[tuple[float, Mark]]
    levels: list[Line]
    readout: dict[str, Any]
    """The curves as numbers, with the positions of x, for the pointer readout."""


def charts(runs: Sequence[RecordedRun], names: Sequence[str], many: str = "images") -> list[Chart]:
    """A chart per group of the rows' numbers, with all runs in the same chart; `many`: what samples are called."""
    rows = [[_derived(row, many) for row in run.rows] for run in runs]
    keys = list(dict.fromkeys(key for row in (row for each in rows for row in each) for key in row if "/" in key))
    keys = sorted((key for key in keys if key not in LEFT_OUT), key=place_of)
    several = len(runs) > 1
    marks = [
        mark._replace(text=f"{name}, {mark.text}") if several else mark
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


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """At most about `most` points: the minimum and the maximum of each interval; gaps are kept."""
    if len(points) <= most:
        return points
    kept: Points = []
    for stretch in np.array_split(np.arange(len(points)), most // 2):
        part = [points[i] for i in stretch]
        finite = [point for point in part if point[1] is not None]
        if finite:
            kept += sorted({min(finite, key=lambda point: point[1] or 0), max(finite, key=lambda point: point[1] or 0)})
        if len(finite) < len(part):
            kept.append((part[-1][0], None))
    return kept


def chart(
    title: str, curves: Sequence[Curve], marks: Sequence[Mark], several: bool, levels: Sequence[Level] = ()
) -> Chart:
    """Curves on common axes. Colours tell runs apart if there are several, else series; dashes tell the rest apart."""
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points if y is not None]
    near = [level for level in levels if min(ys) <= NEAR * level.value and level.value <= NEAR * max(ys)]
    ys += [level.value for level in near]
    low, high = min(ys), max(ys)
    logarithmic = low > 0 and math.log10(high / low) > DECADES
    x_ticks = ticks(min(0.0, *xs), max(xs))
    y_ticks = decades(low, high) if logarithmic else ticks(low, high)
    x_low, x_high = min(0.0, *xs), max(xs) or 1.0
    y_low, y_high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    scale = math.log10 if logarithmic else float

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        share = (scale(y) - scale(y_low)) / (scale(y_high) - scale(y_low))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def path(points: Points) -> str:
        drawn = []
        for there, part in groupby(thin(points), key=lambda point: point[1] is not None):
            if there:
                corners = [f"{across(x):.1f} {down(y or 0):.1f}" for x, y in part]
                drawn.append(f"M{'L'.join(corners)}" + ("h0" if len(corners) == 1 else ""))
        return "".join(drawn)

    def dots(points: Points) -> str:
        there = [(x, y) for x, y in points if y is not None] if len(points) <= MOST_DOTS else []
        return "".join(f"M{across(x):.1f} {down(y):.1f}h0" for x, y in there)

    marked = [f"after {number(mark.images_seen / 1000)} kimg {mark.text.partition(':')[0]}" for mark in marks]
    return Chart(
        title=title + (" (logarithmic)" if logarithmic else ""),
        summary="; ".join([*map(_summary, curves), *(level.text for level in levels), *marked]),
        paths=[
            Path(
                curve.label,
                (curve.run if several else curve.series) % 8,
                curve.series % 4,
                path(curve.points),
                dots(curve.points),
            )
            for curve in curves
        ],
        x_ticks=[AxisTick(across(x), text) for x, text in spelled(x_ticks) if x_low <= x <= x_high],
        y_ticks=[AxisTick(down(y), text) for y, text in spelled(y_ticks)],
        marks=[(across(mark.images_seen / 1000), mark) for mark in marks],
        levels=[Line(down(level.value) if level in near else None, level.text) for level in levels],
        readout={
            "x": [LEFT, WIDTH - RIGHT, x_low, x_high],
            "curves": [
                [[round(x, 3), None if y is None else float(f"{y:.4g}")] for x, y in thin(curve.points)]
                for curve in curves
            ],
        },
    )


def _summary(curve: Curve) -> str:
    values = [y for _, y in curve.points if y is not None]
    if not values:
        return f"{curve.label} was never finite"
    return f"{curve.label} from {number(values[0])} to {number(values[-1])}"
