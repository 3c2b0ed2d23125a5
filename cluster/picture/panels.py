"""The panels of a dashboard as shapes and texts to draw: rows, stats and time series."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.picture.window import MINUTE, Series, Window
from gandist.cli.text import number
from gandist.errors import ConfigError
from gandist.report.curves import Chart, Curve, Moment, chart

MARKS_S = 60
"""Seconds between two points of an annotation's query in Grafana; here at most."""
HOUR = 60 * MINUTE
SCALES: dict[str, list[tuple[float, str]]] = {
    "s": [(1e-6, "µs"), (1e-3, "ms"), (1, "s"), (2 * MINUTE, "min"), (2 * HOUR, "h")],
    "bytes": [(1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB")],
    "mbytes": [(1, "MiB"), (2**10, "GiB")],
    "percentunit": [(0.01, "%")],
    "percent": [(1, "%")],
    "watt": [(1, "W")],
    "celsius": [(1, "°C")],
    "short": [(1, "")],
    "": [(1, "")],
}
"""Scales of Grafana's units: the value from which on each is used, and its name; the largest value chooses."""
SIZES = {"min": MINUTE, "h": HOUR}
"""Scales whose size is not the value from which on they are used."""
COLOURS = 8
"""Colours of curves in the report's style."""


class Stat(NamedTuple):
    name: str
    """Empty if the panel has a single value, which its title names."""
    value: str
    colour: str
    """Of its threshold; empty if the panel shows none."""


class Panel(NamedTuple):
    title: str
    place: Mapping[str, int]
    """`x`, `y`, `w` and `h` on Grafana's grid of 24 columns."""
    stats: list[Stat]
    chart: Chart | None
    note: str = ""

    @property
    def empty(self) -> bool:
        return not self.stats and self.chart is None


class Row(NamedTuple):
    title: str
    panels: list[Panel]


def rows_of(dashboard: Mapping[str, Any], window: Window, variables: Mapping[str, str]) -> list[Row]:
    """The dashboard's rows, each panel of them drawn; panels above the first row are in one without a title.

    Raises:
        ConfigError: a panel is of a kind, or has a setting, that cannot be drawn; or Prometheus does not answer.
    """
    panels = [each for row in dashboard["panels"] for each in (row, *row.get("panels", ()))]
    for panel in panels:
        _check(panel)
    moments = [moment for each in dashboard["annotations"]["list"] for moment in _moments(each, window, variables)]
    rows = [Row("", [])]
    for panel in panels:
        if panel["type"] == "row":
            rows.append(Row(panel["title"], []))
        else:
            rows[-1].panels.append(_drawn(panel, window, variables, moments))
    return [row for row in rows if row.panels]


def _moments(annotation: Mapping[str, Any], window: Window, variables: Mapping[str, str]) -> list[Moment]:
    """The times at which an annotation's query begins to have values."""
    found = []
    for each in window.series(window.filled(annotation["expr"], variables), min(MARKS_S, window.step_s)):
        before = None
        for x, value in each.points:
            if before is None and value is not None:
                text = f"{annotation['name']}: {', '.join(each.labels.values())}"
                found.append(Moment(x, annotation["iconColor"], text))
            before = value
    return found


def _check(panel: Mapping[str, Any]) -> None:
    title, kind, fields = panel["title"], panel["type"], panel.get("fieldConfig", {})
    if kind not in ("row", "stat", "timeseries"):
        raise ConfigError(f"panel {title!r} is a {kind}: only rows, stat and timeseries can be drawn")
    settings = {
        "transformations": panel.get("transformations"),
        "overrides": fields.get("overrides"),
        "mappings": fields.get("defaults", {}).get("mappings"),
    }
    if found := [name for name, value in settings.items() if value]:
        raise ConfigError(f"panel {title!r} has {', '.join(found)}: these cannot be drawn")
    if kind == "stat" and (calcs := panel["options"]["reduceOptions"]["calcs"]) != ["lastNotNull"]:
        raise ConfigError(f"panel {title!r} shows {', '.join(calcs)}: only lastNotNull can be drawn")


def _drawn(panel: Mapping[str, Any], window: Window, variables: Mapping[str, str], moments: Sequence[Moment]) -> Panel:
    title = panel["title"]
    try:
        found = [
            (_legend(target.get("legendFormat", ""), each.labels), each)
            for target in panel["targets"]
            for query in [window.filled(target["expr"], variables)]
            for each in (window.at_end(query) if target.get("instant") else window.series(query))
        ]
    except ConfigError as error:
        raise ConfigError(f"panel {title!r}: {error}") from error
    if panel["type"] == "stat":
        return Panel(title, panel["gridPos"], _stats(panel, found), None)
    return Panel(title, panel["gridPos"], [], *_graph(panel, found, window, moments))


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    if pattern in ("", "__auto"):
        return ", ".join(f"{name}={value}" for name, value in labels.items())
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), pattern).strip()


def _stats(panel: Mapping[str, Any], found: Sequence[tuple[str, Series]]) -> list[Stat]:
    options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
    values = [(legend, y[-1]) for legend, each in found if (y := [y for _, y in each.points if y is not None])]
    if options["textMode"] == "name":
        return [Stat("", legend, "") for legend, _ in values]
    return [
        Stat(
            legend if len(values) > 1 else "",
            _told(value, defaults.get("unit", "")),
            _threshold(value, defaults) if options["colorMode"] != "none" else "",
        )
        for legend, value in values
    ]


def _told(value: float, unit: str) -> str:
    size, name = _scale(unit, abs(value))
    return f"{number(value / size, power_from=1e9)} {name}".strip()


def _threshold(value: float, defaults: Mapping[str, Any]) -> str:
    """Colour of the last threshold that a value reaches."""
    steps = defaults["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return str(reached[-1]) if reached else ""


def _scale(unit: str, largest: float) -> tuple[float, str]:
    """Size and name of the scale in which values of Grafana's `unit` up to `largest` are shown."""
    scales = SCALES.get(unit, [(1, unit)])
    start, name = ([each for each in scales if each[0] <= largest] or scales[:1])[-1]
    return SIZES.get(name, start), name


def _graph(
    panel: Mapping[str, Any], found: Sequence[tuple[str, Series]], window: Window, moments: Sequence[Moment]
) -> tuple[Chart | None, str]:
    """A graph, None if it has no data; and a note."""
    defaults = panel["fieldConfig"]["defaults"]
    logarithmic = defaults.get("custom", {}).get("scaleDistribution", {}).get("type") == "log"
    values = [y for _, each in found for _, y in each.points if y is not None]
    shown = [y for y in values if y > 0] if logarithmic else values
    left_out = len(values) - len(shown)
    note = f"{left_out} values of 0 or less, which a logarithmic scale cannot show" if left_out else ""
    if not shown:
        return None, note
    size, name = _scale(defaults.get("unit", ""), max(map(abs, shown)))

    def scaled(y: float | None) -> float | None:
        return None if y is None or (logarithmic and y <= 0) else y / size

    curves = [
        Curve(legend, i % COLOURS, i // COLOURS, [(x, scaled(y)) for x, y in each.points])
        for i, (legend, each) in enumerate(found)
    ]
    span = (0.0, (window.end_s - window.start_s) / MINUTE)
    heading = ", ".join(filter(None, (panel["title"], name)))
    return chart(heading, curves, moments, True, span=span, logarithmic=logarithmic, unit="minutes"), note
