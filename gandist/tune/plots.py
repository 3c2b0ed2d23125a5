"""The charts of a sweep, as paths and texts of small SVGs; a shape belongs to a trial, by which the page links them."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gandist.report.charts import BOTTOM, DECADES, HEIGHT, LEFT, RIGHT, TOP, WIDTH, decades, number, spelled, ticks
from gandist.tune.parameters import Parameter, common_images, parameters, params_at, said
from gandist.tune.trials import FAILED, Findings, Trial

WIDE = 1100
"""Width of the parallel coordinates, and of the lanes of a population."""


class Shape(NamedTuple):
    d: str
    kind: str
    """`line`, `dot`, `ring` (stopped early), `cross` (failed), `box` or `arrow`."""
    trial: str = ""
    label: str = ""
    share: float = 0.0
    """Where the trial stands among all: 0 the best, 1 the worst."""


class Text(NamedTuple):
    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    width: int
    height: int
    shapes: list[Shape]
    texts: list[Text]


class Axis:
    """Values of one direction: linear, or logarithmic where they span decades."""

    def __init__(self, values: Sequence[float], start: float, end: float, logarithmic: bool | None = None) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        self.logarithmic = low > 0 and (math.log10(high / low) > DECADES if logarithmic is None else logarithmic)
        self.ticks = decades(low, high) if self.logarithmic else ticks(low, high)
        self.scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        low, high = self.scale(self.low), self.scale(self.high)
        return self.start + (self.scale(value) - low) / ((high - low) or 1.0) * (self.end - self.start)


def across(values: Sequence[float], logarithmic: bool | None = None) -> Axis:
    return Axis(values, LEFT, WIDTH - RIGHT, logarithmic)


def down(values: Sequence[float]) -> Axis:
    return Axis(values, HEIGHT - BOTTOM, TOP)


def _texts(x: Axis, y: Axis) -> list[Text]:
    below = [Text(x.at(value), HEIGHT - 6, "x", text) for value, text in spelled(x.ticks)]
    return below + [Text(LEFT - 6, y.at(value) + 4, "y", text) for value, text in spelled(y.ticks)]


def _mark(x: float, y: float, trial: Trial, share: float, label: str) -> Shape:
    if trial.state in FAILED:
        return Shape(f"M{x - 4:.1f} {y - 4:.1f}l8 8m-8 0l8 -8", "cross", trial.name, label, share)
    if trial.state == "stopped":
        return Shape(f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "ring", trial.name, label, share)
    return Shape(f"M{x:.1f} {y:.1f}h0", "dot", trial.name, label, share)


def shares(findings: Findings) -> dict[str, float]:
    """Where each trial stands: 0 the best, 1 the worst."""
    ranked = findings.ranked()
    return {trial.name: place / max(1, len(ranked) - 1) for place, trial in enumerate(ranked)}


def curves(findings: Findings) -> Plot:
    """The metric against thousands of images."""
    metric, stand = findings.metric, shares(findings)
    lines: dict[str, list[tuple[float, float]]] = {}
    for trial in findings.ranked()[::-1]:
        points = [(point.images_seen / 1000, point.values.get(metric, math.nan)) for point in trial.curve]
        lines[trial.name] = [(kimg, value) for kimg, value in points if math.isfinite(value)]
    x = across([0.0, *(kimg for line in lines.values() for kimg, _ in line)], False)
    y = down([value for line in lines.values() for _, value in line])
    trials = {trial.name: trial for trial in findings.trials}
    shapes = []
    for name, line in lines.items():
        if line:
            corners = "L".join(f"{x.at(kimg):.1f} {y.at(value):.1f}" for kimg, value in line)
            label = f"trial {name}: {number(line[-1][1], 4)} at {number(line[-1][0])} kimg, {trials[name].state}"
            shapes.append(Shape(f"M{corners}", "line", name, label, stand[name]))
            shapes.append(_mark(x.at(line[-1][0]), y.at(line[-1][1]), trials[name], stand[name], label))
    return Plot(f"{metric} against kimg", "", WIDTH, HEIGHT, shapes, _texts(x, y))


def _place(parameter: Parameter, trial: Trial, images_seen: int | None) -> float | None:
    return parameter.place(params_at(trial, images_seen))


def parallel(findings: Findings) -> Plot:
    """An axis a parameter, the metric's last; a line a trial, broken where it does not have the parameter."""
    searched, stand, metric = parameters(findings), shares(findings), findings.metric
    values = [value for trial in findings.trials if (value := trial.value(metric)) is not None]
    axes = [Axis([p.low, p.high], HEIGHT - BOTTOM, TOP + 16, p.logarithmic) for p in searched]
    axes.append(Axis(values, HEIGHT - BOTTOM, TOP + 16))
    columns = [LEFT + 40 + i * (WIDE - 2 * LEFT - 80) / max(1, len(axes) - 1) for i in range(len(axes))]
    texts, shapes = [], []
    for column, axis, title in zip(columns, axes, [*(p.path for p in searched), metric], strict=True):
        shapes.append(Shape(f"M{column:.1f} {axis.start}V{axis.end}", "rule"))
        texts.append(Text(column, TOP, "x", title))
    for column, axis, parameter in zip(columns, axes, [*searched, None], strict=True):
        if parameter is not None and parameter.categories:
            names = [(float(i), name) for i, name in enumerate(parameter.categories)]
        else:
            names = spelled(axis.ticks)
        texts += [Text(column - 6, axis.at(value) + 4, "y", text) for value, text in names]
    for trial in findings.ranked()[::-1]:
        places = [_place(parameter, trial, None) for parameter in searched] + [trial.value(metric)]
        d, pen = "", "M"
        for column, axis, place in zip(columns, axes, places, strict=True):
            if place is None:
                d, pen = d + "h0" * bool(d), "M"  # a dot, where the line would have no length
                continue
            d, pen = f"{d}{pen}{column:.1f} {axis.at(place):.1f}", "L"
        label = f"trial {trial.name}, {trial.state}: " + ", ".join(f"{k} {said(v)}" for k, v in trial.params.items())
        shapes.append(Shape(d, "line", trial.name, label, stand[trial.name]))
    return Plot("Parameters of each trial", "", WIDE, HEIGHT, shapes, texts)


def by_parameter(findings: Findings) -> list[Plot]:
    """The metric against each parameter, where all trials had seen as many images: dots, and boxes for categories."""
    at, metric, stand = common_images(findings), findings.metric, shares(findings)
    found = [(trial, value) for trial in findings.trials if (value := trial.value(metric, at)) is not None]
    plots = []
    for parameter in parameters(findings) if found else ():
        there = [(trial, place, value) for trial, value in found if (place := _place(parameter, trial, at)) is not None]
        if there:
            plots.append(_box(parameter, there, stand) if parameter.categories else _dots(parameter, there, stand))
    return plots


There = Sequence[tuple[Trial, float, float]]


def _label(parameter: Parameter, trial: Trial, value: float) -> str:
    return f"trial {trial.name}: {number(value, 4)} with {parameter.path} {said(trial.params.get(parameter.path))}"


def _dots(parameter: Parameter, there: There, stand: dict[str, float]) -> Plot:
    x, y = across([parameter.low, parameter.high], parameter.logarithmic), down([value for _, _, value in there])
    shapes = [
        _mark(x.at(place), y.at(value), trial, stand[trial.name], _label(parameter, trial, value))
        for trial, place, value in there
    ]
    return Plot(parameter.path, "", WIDTH, HEIGHT, shapes, _texts(x, y))


def _box(parameter: Parameter, there: There, stand: dict[str, float]) -> Plot:
    y, n = down([value for _, _, value in there]), len(parameter.categories)
    step = (WIDTH - LEFT - RIGHT) / n
    shapes, texts = [], [Text(LEFT - 6, y.at(value) + 4, "y", text) for value, text in spelled(y.ticks)]
    for i, name in enumerate(parameter.categories):
        centre, half = LEFT + (i + 0.5) * step, min(18.0, step / 3)
        values = sorted(value for _, place, value in there if place == i)
        texts.append(Text(centre, HEIGHT - (2 if i % 2 else 13), "x", f"{name} ({len(values)})"))  # else they overlap
        if len(values) > 2:
            low, middle, high = (y.at(value) for value in statistics.quantiles(values, method="inclusive"))
            left, right = centre - half, centre + half
            d = f"M{left:.1f} {low:.1f}H{right:.1f}V{high:.1f}H{left:.1f}ZM{left:.1f} {middle:.1f}H{right:.1f}"
            whiskers = f"M{centre:.1f} {low:.1f}V{y.at(values[0]):.1f}M{centre:.1f} {high:.1f}V{y.at(values[-1]):.1f}"
            label = f"{name}: median {number(statistics.median(values), 4)} of {len(values)}"
            shapes.append(Shape(d + whiskers, "box", "", label))
    for trial, place, value in there:
        centre = LEFT + (place + 0.5) * step
        shapes.append(_mark(centre, y.at(value), trial, stand[trial.name], _label(parameter, trial, value)))
    return Plot(parameter.path, "quartiles, and the trials", WIDTH, HEIGHT, shapes, texts)


def lineage(findings: Findings) -> Plot | None:
    """A lane a trial, arrows from whose weights were taken to who took them; None where nobody took any."""
    if not any(trial.lineage for trial in findings.trials):
        return None
    lanes = sorted(trial.name for trial in findings.trials)
    height = TOP + BOTTOM + 24 * len(lanes)
    x = Axis([0.0, findings.total_images / 1000], LEFT + 20, WIDE - RIGHT, False)
    y = {name: TOP + 24 * (i + 0.5) for i, name in enumerate(lanes)}
    stand = shares(findings)
    shapes, texts = [], [Text(x.at(value), height - 6, "x", text) for value, text in spelled(x.ticks)]
    for trial in findings.trials:
        end = x.at(max(trial.images_seen / 1000, 0))
        shapes.append(
            Shape(f"M{x.start} {y[trial.name]}H{end:.1f}", "line", trial.name, f"trial {trial.name}", stand[trial.name])
        )
        texts.append(Text(x.start - 6, y[trial.name] + 4, "y", trial.name))
        for taken in trial.lineage:
            at, low, high = x.at(taken.images_seen / 1000), y.get(taken.donor, 0.0), y[trial.name]
            tip = 6 if low < high else -6
            d = f"M{at:.1f} {low}V{high}m-4 {-tip}l4 {tip}l4 {-tip}"
            values = ", ".join(f"{path} {said(value)}" for path, value in taken.params.items())
            label = f"{trial.name} takes the weights of {taken.donor} at {taken.images_seen / 1000:g} kimg: {values}"
            shapes.append(Shape(d, "arrow", trial.name, label))
    note = "an arrow goes from the trial whose weights were taken to the one that went on with them; across: kimg"
    return Plot("Who took whose weights", note, WIDE, height, shapes, texts)


def front(findings: Findings) -> Plot | None:
    """The first two metrics against each other, the trials that no other beats in all of them joined by a line."""
    if len(findings.metrics) < 2:
        return None
    first, second = list(findings.metrics)[:2]
    stand = shares(findings)
    there = [
        (trial, a, b)
        for trial in findings.trials
        if (a := trial.value(first)) is not None and (b := trial.value(second)) is not None
    ]
    x, y = across([b for _, _, b in there]), down([a for _, a, _ in there])
    best = sorted((b, a) for trial, a, b in there if trial in findings.front())
    shapes = (
        [Shape("M" + "L".join(f"{x.at(b):.1f} {y.at(a):.1f}" for b, a in best), "box", "", "front")] if best else []
    )
    for trial, a, b in there:
        label = f"trial {trial.name}: {first} {number(a, 4)}, {second} {number(b, 4)}"
        shapes.append(_mark(x.at(b), y.at(a), trial, stand[trial.name], label))
    title = f"{first} against {second}"
    return Plot(title, "joined: what no other trial beats in every metric", WIDTH, HEIGHT, shapes, _texts(x, y))
