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

MOST_POINTS = 300
"""Maximum points per curve; longer curves are thinned, keeping their extremes."""

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


class Moment(NamedTuple):
    """An event, as a vertical line."""

    x: float
    kind: str
    """A class of the page's style."""
    text: str


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
    marks: list[tuple[float, Moment]]
    levels: list[Line]
    readout: dict[str, Any]
    """The curves as numbers, with the positions of x, for the pointer readout."""


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
    title: str,
    curves: Sequence[Curve],
    marks: Sequence[Moment],
    several: bool,
    levels: Sequence[Level] = (),
    *,
    span: tuple[float, float] | None = None,
    logarithmic: bool | None = None,
    unit: str = "kimg",
) -> Chart:
    """Curves on common axes. Colours tell runs apart if there are several, else series; dashes tell the rest apart.

    Args:
        curves: at least one value is finite.
        span: ends of the x axis; None for 0 to the last point.
        logarithmic: whether the y axis is, for which all values must be positive; None to choose by their range.
        unit: of x, in the summary.
    """
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points if y is not None]
    near = [level for level in levels if min(ys) <= NEAR * level.value and level.value <= NEAR * max(ys)]
    ys += [level.value for level in near]
    low, high = min(ys), max(ys)
    if logarithmic is None:
        logarithmic = low > 0 and math.log10(high / low) > DECADES
    x_low, x_high = span or (min(0.0, *xs), max(xs))
    x_ticks = ticks(x_low, x_high)
    y_ticks = decades(low, high) if logarithmic else ticks(low, high)
    x_high = x_high or 1.0
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

    marked = [f"after {number(mark.x)} {unit} {mark.text.partition(':')[0]}" for mark in marks]
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
        marks=[(across(mark.x), mark) for mark in marks],
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
