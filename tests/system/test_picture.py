"""The promise: the dashboard is drawn without Grafana, from its JSON and what a Prometheus knows."""

import copy
import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cluster.picture.__main__ import DASHBOARD, main
from cluster.picture.panels import Panel, rows_of
from cluster.picture.window import Window, variables_of
from gandist.errors import ConfigError
from tests.helpers.prometheus_server import needs_prometheus, prometheus

SHOWN: dict[str, Any] = json.loads(DASHBOARD.read_text())
MINUTES, SCRAPE_S = 10, 5
SERIES: dict[str, Callable[[float], float | None]] = {
    # Not finite in the fifth minute
    'gandist_loss{run="a",player="G"}': lambda t: math.nan if 240 < t < 300 else 1 + t / 600,
    'gandist_images_seen{run="a"}': lambda t: 100 * t,
    'gandist_images_seen{run="b"}': lambda t: 50 * t,
    'gandist_gradient_norm{run="a",player="G"}': lambda t: 0 if t < 60 else 0.1 * t,
    'gandist_phase{run="a",gandist_phase="evaluating"}': lambda t: float(t < 300),
    'gandist_phase{run="a",gandist_phase="training"}': lambda t: float(t >= 300),
    'gandist_checkpoint_size_bytes{run="a"}': lambda t: 3 * 2**20,
    'gandist_start_timestamp_seconds{run="a",rank="0"}': lambda t: None if t < 120 else 120,
}
"""Values by the seconds since the window's start; None where there are none. Of the last, since 1970, too."""


def openmetrics(start_s: float) -> str:
    """The series in the format of a scrape, with times."""
    lines = [
        f"{name} {at + (start_s if 'timestamp' in name else 0)} {start_s + second}\n"
        for name, value in SERIES.items()
        for second in range(0, 60 * MINUTES + 1, SCRAPE_S)
        if (at := value(second)) is not None
    ]
    return "".join(sorted(lines, key=lambda line: line.partition("{")[0])) + "# EOF\n"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """Ten minutes of a Prometheus that has these series."""
    folder, end_s = tmp_path_factory.mktemp("prometheus"), float(round(time.time()))
    start_s = end_s - 60 * MINUTES
    (folder / "series").write_text(openmetrics(start_s))
    command: list[str | Path] = [
        "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        folder / "series",
        folder / "data",
    ]
    subprocess.run(command, check=True, capture_output=True)
    with prometheus(folder / "none.json", folder) as api:
        yield Window(api.url, start_s, end_s, SCRAPE_S)


def panels(dashboard: dict[str, Any], window: Window, **variables: str) -> dict[str, Panel]:
    rows = rows_of(dashboard, window, variables_of(dashboard, variables))
    return {panel.title: panel for row in rows for panel in row.panels}


@needs_prometheus
def test_the_dashboard_is_drawn(window: Window) -> None:
    drawn = panels(SHOWN, window)
    assert [*drawn] == [panel["title"] for panel in SHOWN["panels"] if panel["type"] != "row"]
    filled = {"Images seen", "Phase", "Losses", "Gradient norms", "Phase, by rank", "Size of a checkpoint",
              "Since the process started, by rank"}  # fmt: skip
    assert {title for title, panel in drawn.items() if not panel.empty} == filled
    assert [(stat.name, stat.value) for stat in drawn["Images seen"].stats] == [("a", "60,000"), ("b", "30,000")]
    assert [stat.value for stat in drawn["Phase"].stats] == ["a: training"]
    charts = {title: panel.chart for title, panel in drawn.items() if panel.chart}
    (loss,) = charts["Losses"].paths
    assert loss.label == "a G"
    assert loss.d.count("M") == 2, "before and after the gap"
    assert [mark.x for _, mark in charts["Losses"].marks] == [2]
    assert charts["Gradient norms"].title == "Gradient norms (logarithmic)"
    assert drawn["Gradient norms"].note.startswith("12 values of 0 or less")
    assert charts["Size of a checkpoint"].title == "Size of a checkpoint, MiB"
    assert charts["Since the process started, by rank"].title == "Since the process started, by rank, min"


@needs_prometheus
def test_a_run_is_chosen(window: Window) -> None:
    assert [(stat.name, stat.value) for stat in panels(SHOWN, window, run="b")["Images seen"].stats] == [("", "30,000")]


@needs_prometheus
def test_a_threshold_gives_its_colour(window: Window) -> None:
    changed = copy.deepcopy(SHOWN)
    (panel,) = (panel for panel in changed["panels"] if panel["title"] == "Images seen")
    panel["options"]["colorMode"] = "value"
    panel["fieldConfig"]["defaults"]["thresholds"]["steps"].append({"color": "red", "value": 40_000})
    assert [stat.colour for stat in panels(changed, window)["Images seen"].stats] == ["red", "green"]


@needs_prometheus
def test_a_picture_is_written(window: Window, tmp_path: Path) -> None:
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("chromium and chromium-driver are not installed (make debian)")
    words = ["--prometheus", window.url, "--scrape", str(SCRAPE_S), "--minutes", str(MINUTES), "--rows", "Overview"]
    assert main([*words, "--out", str(tmp_path / "page.html")]) == 0
    assert "http" not in (tmp_path / "page.html").read_text().replace("http-equiv", "")
    assert main([*words, "--out", str(tmp_path / "dark.png"), "--width", "900", "--dark"]) == 0
    with Image.open(tmp_path / "dark.png") as picture:
        assert picture.width == 900
        assert 200 < picture.height < 600
        assert max(picture.convert("RGB").getpixel((0, 0))) < 40  # type: ignore[arg-type]


UNREACHED = Window("http://127.0.0.1:1", 0, 600, SCRAPE_S)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "gauge"}, "panel 'Losses' is a gauge: only rows, stat and timeseries can be drawn"),
        ({"transformations": [{"id": "reduce"}]}, "panel 'Losses' has transformations"),
        ({"fieldConfig": {"defaults": {}, "overrides": [{"matcher": {}}]}}, "panel 'Losses' has overrides"),
        ({}, "--prometheus http://127.0.0.1:1 does not answer as a Prometheus"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any], why: str) -> None:
    changed = copy.deepcopy(SHOWN)
    (panel,) = (panel for panel in changed["panels"] if panel["title"] == "Losses")
    panel |= changes
    with pytest.raises(ConfigError, match=why):
        panels(changed, UNREACHED)


def test_names_that_the_dashboard_has_not_are_refused() -> None:
    with pytest.raises(ConfigError, match="--var pod: the dashboard has the variables run, sweep"):
        variables_of(SHOWN, {"pod": "a"})
    with pytest.raises(ConfigError, match=r"the variable \$pod has no value"):
        UNREACHED.filled('up{pod="$pod"}', {"run": ".*"})
