"""Quality against variety of a G that draws symbols, over the temperature that it draws them at.

A point of each generator compares little: colder, all are better and less varied (Caccia et al. 2020, "Language GANs
falling short", arXiv:1811.02549). One is better than another where its whole curve is.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gandist.cli.text import number
from gandist.evaluation.measures import Measure, Sampled
from gandist.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, AxisTick, spelled, ticks
from gandist.report.curves import Chart, Path
from gandist.run import evaluations
from gandist.storage.storage import Storage

VARIETY, QUALITY = "self_bleu", "bleu"
TITLE = "BLEU over self-BLEU: higher is better, further left more varied"
SVG, TABLE = "temperatures.svg", "temperatures.md"
COLOURS = ("#0b62a3", "#b3450b", "#1a7547", "#8a3b8f", "#7a5a00", "#00707a", "#b0305c", "#4a4f57")

Scores = Mapping[str, float | None]
AtTemperatures = Mapping[float, Scores]
"""Measures by name at each temperature."""


class Line(NamedTuple):
    """A generator's curve, or with a single point what has no temperature."""

    label: str
    points: list[tuple[str, float, float]]
    """What is said of a point, variety, quality; by temperature."""


def scores_at(sampled: Sampled, measures: Iterable[Measure], temperatures: Sequence[float]) -> dict[str, Scores]:
    """The scores of a generator at each temperature, by the temperature as text; empty if it draws no symbols."""
    if not hasattr(sampled.trained.G, "temperature"):
        return {}
    every = list(measures)
    found: dict[str, Scores] = {}
    for temperature in temperatures:
        at = Sampled(sampled.trained.at(temperature), sampled.n, sampled.seed)
        found[f"{temperature:g}"] = {name: score for measure in every for name, score in measure.scores(at).items()}
    return found


def line(label: str, found: AtTemperatures) -> Line | None:
    """The curve of a generator; None if it has no such measures."""
    points = [
        (f"temperature {temperature:g}", x, y)
        for temperature, scores in sorted(found.items())
        if (x := scores.get(VARIETY)) is not None and (y := scores.get(QUALITY)) is not None
    ]
    return Line(label, points) if points else None


def chart(lines: Sequence[Line]) -> Chart:
    """Curves on common axes, a point for each temperature."""
    points = [point for each in lines for point in each.points]
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    low, high = (x_ticks[0], y_ticks[0]), (x_ticks[-1], y_ticks[-1])

    def across(x: float) -> float:
        return LEFT + (x - low[0]) / (high[0] - low[0]) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low[1]) / (high[1] - low[1]) * (HEIGHT - TOP - BOTTOM)

    paths = []
    for i, each in enumerate(lines):
        corners = [f"{across(x):.1f} {down(y):.1f}" for _, x, y in each.points]
        dots = "".join(f"M{corner}h0" for corner in corners)
        paths.append(Path(each.label, i % len(COLOURS), 0, f"M{'L'.join(corners)}", dots))
    return Chart(
        title=TITLE,
        summary="; ".join(map(_summary, lines)),
        paths=paths,
        x_ticks=[AxisTick(across(x), text) for x, text in spelled(x_ticks)],
        y_ticks=[AxisTick(down(y), text) for y, text in spelled(y_ticks)],
        marks=[],
        levels=[],
        readout={
            "x": [LEFT, WIDTH - RIGHT, low[0], high[0]],
            "curves": [[[float(f"{x:.4g}"), float(f"{y:.4g}")] for _, x, y in each.points] for each in lines],
        },
    )


def _summary(each: Line) -> str:
    said = [f"{told + ': ' if len(each.points) > 1 else ''}{number(x)}, {number(y)}" for told, x, y in each.points]
    return f"{each.label}: {'; '.join(said)}"


def svg(drawn: Chart) -> str:
    """The chart as a file of its own."""
    folder = FileSystemLoader(FilePath(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(SVG).render(chart=drawn, colours=COLOURS, width=WIDTH, height=HEIGHT)


def write(storage: Storage, results: Sequence[Mapping[str, Any]], real: Scores, many: str) -> bool:
    """Write table and chart of a comparison's runs; whether there are any.

    Args:
        results: of each run `variant`, `temperatures` (`scores_at`) and `measures`.
        real: measures of real samples, which are called `many`.
    """
    mean: dict[str, dict[float, dict[str, float]]] = {}
    for variant in dict.fromkeys(result["variant"] for result in results):
        of = [result for result in results if result["variant"] == variant]
        # What draws no symbols is a point
        found = [result.get("temperatures") or {"nan": result["measures"]} for result in of]
        mean[variant] = {float(at): _means([each[at] for each in found]) for at in found[0]}
    if not any(math.isfinite(at) for found in mean.values() for at in found):
        return False
    lines = [each for variant, found in mean.items() if (each := line(variant, found))]
    lines += [each] if (each := line(f"real {many}", {math.nan: real})) else []
    storage.write_bytes(TABLE, _table(mean, real, many).encode())
    if lines:
        storage.write_bytes(SVG, svg(chart(lines)).encode())
    return True


def _means(of: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of what all have, by name."""
    return {name: statistics.mean(each[name] for each in of) for name in of[0] if all(name in each for each in of)}


def of_runs(storages: Mapping[str, Storage]) -> Chart | None:
    """The curves of runs, by their names, that `gandist.evaluate --keep` has left, beside real samples; None if there
    are none."""
    lines: list[Line] = []
    real: dict[str, None] = {}
    for name, storage in storages.items():
        found = evaluations.read_temperatures(storage)
        at = {each["protocol"]["temperature"]: each["measures"] for each in found}
        lines += [curve] if (curve := line(name, at)) else []
        for what, scores in (found[-1].get("baselines") or {}).items() if found else ():
            if (point := line(what, {math.nan: scores})) and (said := _summary(point)) not in real:
                real[said] = None
                lines.append(point)
    return chart(lines) if lines else None


def _table(mean: Mapping[str, AtTemperatures], real: Scores, many: str) -> str:
    names = [name for name in real if any(name in scores for found in mean.values() for scores in found.values())]
    rows = [["variant", "temperature", *names], ["---"] * (2 + len(names))]
    rows += [
        [variant, f"{at:g}" if math.isfinite(at) else "", *(_cell(scores.get(name)) for name in names)]
        for variant, found in mean.items()
        for at, scores in sorted(found.items())
    ]
    rows.append([f"real {many}", "", *(_cell(real.get(name)) for name in names)])
    said = "Means over seeds. Colder, texts are better and less varied: compare curves, not points.\n"
    return "".join(f"| {' | '.join(row)} |\n" for row in rows) + f"\n{said}"


def _cell(value: float | None) -> str:
    return "" if value is None else number(value, 4, thousands="", power_from=math.inf)
