"""The charts of a sweep, as paths and texts of small SVGs; each shape belongs to a trial, and the page links them."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gandist.cli.text import number
from gandist.report.axes import BOTTOM, DECADES, HEIGHT, LEFT, TOP, WIDTH, decades, spelled, ticks
from gandist.tune.parameters import Parameter, parameters, params_at, said
from gandist.tune.trials import FAILED, Findings, TrialRecord

WIDE, TALL = 1100, 300
"""Size of full-width charts."""
LANE = 26
"""Height of a category's row, and of a trial's lane in a population."""
EDGE = 18
"""Margin at the right, for half of the last number on an axis."""
SMALL = (LEFT, WIDTH - EDGE), (HEIGHT - BOTTOM, TOP)
"""Start and end of x and y on a small chart."""
NAMES, LONGEST = 110, 17
"""Width of the left column for names of categories and trials, and the number of letters that fit."""
AXIS = 130
"""Minimum width per axis of the parallel coordinates."""


class PlotShape(NamedTuple):
    d: str
    kind: str
    """`line`, `bridge` (across an axis that a trial does not have), `dot`, `ring` (stopped early), `cross` (failed),
    `box`, `front`, `arrow` or `descent`."""
    trial: str = ""
    label: str = ""
    share: float = 0.0
    """Rank of the trial from 0, the best, to 1, the worst."""
    state: str = ""
    """State of the trial: `best`, `stopped`, `failed`, or empty."""


class Text(NamedTuple):
    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    summary: str
    """Description of the chart in words."""
    width: int
    height: int
    rules: list[str]
    """Rules at the ticks, and the axes of the parallel coordinates."""
    shapes: list[PlotShape]
    texts: list[Text]


class Axis:
    """Positions of values along one direction: linear, or logarithmic if they span decades."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, logarithmic: bool | None = None, whole: bool = False
    ) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        self.logarithmic = low > 0 and (math.log10(high / low) > DECADES if logarithmic is None else logarithmic)
        self.ticks = decades(low, high) if self.logarithmic else ticks(low, high)
        self.scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self.start, self.end = start, end
        if whole and not self.logarithmic:
            self.ticks = [value for value in self.ticks if math.isclose(value, round(value))]

    def at(self, value: float) -> float:
        low, high = self.scale(self.low), self.scale(self.high)
        return self.start + (self.scale(value) - low) / ((high - low) or 1.0) * (self.end - self.start)

    @classmethod
    def of(cls, parameter: Parameter, start: float, end: float) -> "Axis":
        return cls([parameter.low, parameter.high], start, end, parameter.logarithmic, parameter.integer)

    @property
    def note(self) -> str:
        return "logarithmic" if self.logarithmic else ""


class Standing:
    """The marks that distinguish trials: by rank, the best one, and those that ended early."""

    def __init__(self, findings: Findings) -> None:
        ranked, best = findings.ranked(), findings.best()
        self.worst_first = ranked[::-1]
        """Drawing order: the best on top."""
        self.shares = {trial.name: place / max(1, len(ranked) - 1) for place, trial in enumerate(ranked)}
        self.best = best.name if best else ""

    def shape(self, d: str, kind: str, trial: TrialRecord, label: str) -> PlotShape:
        if trial.name == self.best:
            state = "best"
        else:
            state = "failed" if trial.state in FAILED else "stopped" if trial.state == "stopped" else ""
        return PlotShape(d, kind, trial.name, label, self.shares[trial.name], state)

    def mark(self, x: float, y: float, trial: TrialRecord, label: str) -> PlotShape:
        if trial.state in FAILED:
            return self.shape(f"M{x - 4:.1f} {y - 4:.1f}l8 8m-8 0l8 -8", "cross", trial, label)
        if trial.state == "stopped":
            return self.shape(f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "ring", trial, label)
        return self.shape(f"M{x:.1f} {y:.1f}h0", "dot", trial, label)


def grid(x: Axis, y: Axis) -> tuple[list[str], list[Text]]:
    """Rules at the ticks of y, and the labels of both axes: x below, y at the left."""
    right, bottom = max(x.start, x.end), max(y.start, y.end)
    rules = [f"M{x.start:.1f} {y.at(value):.1f}H{right:.1f}" for value in y.ticks]
    below = [Text(x.at(value), bottom + BOTTOM - 6, "x", text) for value, text in spelled(x.ticks)]
    return rules, below + [Text(x.start - 6, y.at(value) + 4, "y", text) for value, text in spelled(y.ticks)]


def cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def curves(findings: Findings) -> Plot:
    """The metric against thousands of images."""
    metric, stand = findings.metric, Standing(findings)
    lines: dict[str, list[tuple[float, float]]] = {}
    for trial in stand.worst_first:
        points = [(point.images_seen / 1000, point.values.get(metric, math.nan)) for point in trial.curve]
        lines[trial.name] = [(kimg, value) for kimg, value in points if math.isfinite(value)]
    ends = [trial.images_seen / 1000 for trial in findings.trials]
    x = Axis([0.0, *ends, *(kimg for line in lines.values() for kimg, _ in line)], LEFT, WIDE - EDGE, False)
    y = Axis([value for line in lines.values() for _, value in line], TALL - BOTTOM, TOP)
    (rules, texts), shapes = grid(x, y), []
    gone: Counter[int] = Counter()
    for trial in stand.worst_first:
        line = lines[trial.name]
        if line:
            (kimg, value), n = line[-1], len(line)
            corners = "L".join(f"{x.at(kimg):.1f} {y.at(value):.1f}" for kimg, value in line) + "h0" * (n == 1)
            label = f"trial {trial.name}: {number(value, 4)} at {number(kimg)} kimg, {trial.state}"
            shapes.append(stand.shape(f"M{corners}", "line", trial, label))
            shapes.append(stand.mark(x.at(kimg), y.at(value), trial, label))
        elif trial.state in FAILED and trial.images_seen:
            beside = 12 * gone[trial.images_seen]  # crosses of one moment stand side by side
            gone[trial.images_seen] += 1
            label = f"trial {trial.name}: {trial.state} at {trial.images_seen / 1000:g} kimg, never measured as finite"
            shapes.append(stand.mark(x.at(trial.images_seen / 1000) + beside, TOP, trial, label))
    best = findings.best()
    summary = f"{sum(map(bool, lines.values()))} trials" + (
        f"; the best, {best.name}, comes to {_value(best, metric)}" if best else ""
    )
    note = "the thick line is the best; crosses at the upper edge never had a finite value"
    return Plot(
        f"{metric} against kimg", f"{note}{'; ' * y.logarithmic}{y.note}", summary, WIDE, TALL, rules, shapes, texts
    )


def _value(trial: TrialRecord, metric: str) -> str:
    value = trial.value(metric)
    return "not measured" if value is None else number(value, 4)


def _place(parameter: Parameter, trial: TrialRecord, images_seen: int | None) -> float | None:
    return parameter.place(params_at(trial, images_seen))


def parallel(findings: Findings) -> Plot:
    """An axis per parameter, the metric's last; a line per trial, broken at parameters that the trial does not have."""
    searched, stand, metric = parameters(findings), Standing(findings), findings.metric
    values = [value for trial in findings.trials if (value := trial.value(metric)) is not None]
    foot, head = TALL - TOP, TOP + 18
    axes = [Axis.of(parameter, foot, head) for parameter in searched] + [Axis(values, foot, head)]
    width = max(WIDE, AXIS * len(axes))
    step = (width - NAMES - 60) / max(1, len(axes) - 1)
    columns = [NAMES + i * step for i in range(len(axes))]
    rules, shapes, texts = [], [], []
    for column, axis, parameter in zip(columns, axes, [*searched, None], strict=True):
        if parameter is not None and parameter.categories:
            names = [(float(i), cut(name)) for i, name in enumerate(parameter.categories)]
        else:
            names = spelled(axis.ticks)
        rules.append(f"M{column:.1f} {axis.start}V{axis.end}")
        texts.append(Text(column, TOP, "x", cut(parameter.path if parameter else metric, int(step / 6.5))))
        texts += [Text(column - 6, axis.at(value) + 4, "y", text) for value, text in names]
    for trial in stand.worst_first:
        places = [_place(parameter, trial, None) for parameter in searched] + [trial.value(metric)]
        corners = [
            None if place is None else f"{column:.1f} {axis.at(place):.1f}"
            for column, axis, place in zip(columns, axes, places, strict=True)
        ]
        there = [i for i, corner in enumerate(corners) if corner]
        stretches = [[corners[i] for i in part] for part in _runs(there)]
        d = "".join("M" + "L".join(map(str, part)) + "h0" * (len(part) == 1) for part in stretches)
        past = "".join(f"M{a[-1]}L{b[0]}" for a, b in pairwise(stretches))
        label = f"trial {trial.name}, {trial.state}: " + ", ".join(f"{k} {said(v)}" for k, v in trial.params.items())
        if past:
            shapes.append(stand.shape(past, "bridge", trial, label))
        if d:
            shapes.append(stand.shape(d, "line", trial, label))
    note = "the metric, at the right, is each trial's last; dashed: past a parameter that a trial does not have"
    summary = f"{len(findings.trials)} trials over {', '.join(each.path for each in searched)} and {metric}"
    return Plot("Parameters of each trial", note, summary, width, TALL, rules, shapes, texts)


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Runs of consecutive whole numbers."""
    found: list[list[int]] = []
    for each in numbers:
        if found and found[-1][-1] == each - 1:
            found[-1].append(each)
        else:
            found.append([each])
    return found


There = Sequence[tuple[TrialRecord, float, float]]


def by_parameter(findings: Findings) -> list[Plot]:
    """The metric against each parameter, at equal images seen: dots for numbers, boxes for categories."""
    at, metric, stand = findings.common_images(), findings.metric, Standing(findings)
    found = [(trial, value) for trial in stand.worst_first if (value := trial.value(metric, at)) is not None]
    plots = []
    for parameter in parameters(findings) if found else ():
        there = [(trial, place, value) for trial, value in found if (place := _place(parameter, trial, at)) is not None]
        if there:
            plots.append((_box if parameter.categories else _dots)(parameter, there, stand, at))
    return plots


def _label(parameter: Parameter, trial: TrialRecord, value: float, at: int | None) -> str:
    return f"trial {trial.name}: {number(value, 4)} with {parameter.path} {said(params_at(trial, at)[parameter.path])}"


def _dots(parameter: Parameter, there: There, stand: Standing, at: int | None) -> Plot:
    across, upwards = SMALL
    x, y = Axis.of(parameter, *across), Axis([value for _, _, value in there], *upwards)
    rules, texts = grid(x, y)
    shapes = [
        stand.mark(x.at(place), y.at(value), trial, _label(parameter, trial, value, at))
        for trial, place, value in there
    ]
    best = min(there, key=lambda each: stand.shares[each[0].name])
    summary = f"{len(there)} trials; the best of them at {number(best[1], 4)}"
    return Plot(parameter.path, x.note, summary, WIDTH, HEIGHT, rules, shapes, texts)


def _box(parameter: Parameter, there: There, stand: Standing, at: int | None) -> Plot:
    """A row per category, with room for its name; as tall as there are categories."""
    n = len(parameter.categories)
    height = TOP + n * LANE + BOTTOM
    x = Axis([value for _, _, value in there], NAMES, WIDTH - EDGE)
    rules = [f"M{x.at(value):.1f} {TOP}V{height - BOTTOM}" for value in x.ticks]
    shapes: list[PlotShape] = []
    texts = [Text(x.at(value), height - 6, "x", text) for value, text in spelled(x.ticks)]
    said_of = []
    for i, name in enumerate(parameter.categories):
        middle, here = TOP + (i + 0.5) * LANE, [(trial, value) for trial, place, value in there if place == i]
        values = sorted(value for _, value in here)
        texts.append(Text(NAMES - 8, middle + 4, "y", f"{cut(name, LONGEST - 4)} ({len(values)})"))
        if values:
            said_of.append(f"{name}: median {number(statistics.median(values), 4)} of {len(values)}")
        if len(values) > 2:
            low, mean, high = (x.at(value) for value in statistics.quantiles(values, method="inclusive"))
            top, foot = middle - 9, middle + 9
            d = f"M{low:.1f} {top}H{high:.1f}V{foot}H{low:.1f}ZM{mean:.1f} {top}V{foot}"
            whiskers = f"M{x.at(values[0]):.1f} {middle}H{low:.1f}M{high:.1f} {middle}H{x.at(values[-1]):.1f}"
            shapes.append(PlotShape(d + whiskers, "box", "", said_of[-1]))
        for k, (trial, value) in enumerate(here):
            off = (k % 3 - 1) * 4 * (len(here) > 3)  # separates equal values
            shapes.append(stand.mark(x.at(value), middle + off, trial, _label(parameter, trial, value, at)))
    note = f"boxes: quartiles and ends, of three trials or more{'; logarithmic' * x.logarithmic}"
    return Plot(parameter.path, note, "; ".join(said_of), WIDTH, height, rules, shapes, texts)


def front(findings: Findings) -> Plot | None:
    """The first two metrics against each other, and the edge of the reached region, drawn through the trials that no
    other trial beats in every metric."""
    if len(findings.metrics) < 2:
        return None
    (first, second), stand, (across, upwards) = list(findings.metrics)[:2], Standing(findings), SMALL
    there = [
        (trial, a, b)
        for trial in stand.worst_first
        if (a := trial.value(first)) is not None and (b := trial.value(second)) is not None
    ]
    x, y = Axis([b for _, _, b in there], *across), Axis([a for _, a, _ in there], *upwards)
    (rules, texts), shapes = grid(x, y), []
    names = [trial.name for trial in findings.front()]
    best = sorted((b, a) for trial, a, b in there if trial.name in names)
    if best:
        shapes.append(
            PlotShape("M" + "L".join(f"{x.at(b):.1f} {y.at(a):.1f}" for b, a in best), "front", "", "the front")
        )
    for trial, a, b in there:
        label = f"trial {trial.name}: {first} {number(a, 4)}, {second} {number(b, 4)}"
        shapes.append(stand.mark(x.at(b), y.at(a), trial, label))
    title, note = f"{first} against {second}", "joined: what no other trial beats in every metric"
    return Plot(title, note, f"on the front: {', '.join(names)}", WIDTH, HEIGHT, rules, shapes, texts)
