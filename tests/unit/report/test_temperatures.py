"""Curves of quality against variety: points where their numbers are, in the report and in files of a comparison."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gandist.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from gandist.report.temperatures import SVG, TABLE, Line, chart, line, of_runs, write
from gandist.run.evaluations import Result, keep_temperatures
from gandist.storage.storage import Storage

COLD, WARM = {"self_bleu": 0.9, "bleu": 0.8, "js_1": 0.1}, {"self_bleu": 0.7, "bleu": 0.6, "js_1": 0.2}
REAL = {"self_bleu": 0.8, "bleu": 0.9, "js_1": 0.0, "unknown": None}


def test_points_lie_where_their_numbers_are() -> None:
    found = line("a", {1.0: WARM, 0.5: COLD})
    assert found == Line("a", [("temperature 0.5", 0.9, 0.8), ("temperature 1", 0.7, 0.6)])
    assert line("b", {1.0: {"js_1": 0.1}}) is None
    drawn = chart([found, Line("real", [("", 0.8, 0.9)])])
    left, right, low, high = drawn.readout["x"]
    assert (left, right, drawn.y_ticks[-1].text, drawn.y_ticks[-1].at) == (LEFT, WIDTH - RIGHT, "0.9", TOP)
    cold, warm = (tuple(map(float, each.split())) for each in drawn.paths[0].d[1:].split("L"))
    for (x, _), told in ((cold, 0.9), (warm, 0.7)):
        assert (x - left) / (right - left) == pytest.approx((told - low) / (high - low), abs=1e-3)
    real = float(drawn.paths[1].d[1:].removesuffix("h0").split()[1])
    assert real == TOP < cold[1] < warm[1] < HEIGHT - BOTTOM
    assert (warm[1] - real) / (cold[1] - real) == pytest.approx(3, abs=0.02)
    assert drawn.paths[0].dots.count("M") == 2
    assert drawn.summary == "a: temperature 0.5: 0.9, 0.8; temperature 1: 0.7, 0.6; real: 0.8, 0.9"


def test_a_comparison_has_a_table_and_a_chart(tmp_path: Path) -> None:
    """Means over seeds; a generator without a temperature is a point."""
    storage = Storage(str(tmp_path))
    point = {"variant": "gan", "measures": {"self_bleu": 0.5, "bleu": 0.5, "js_1": 0.3}}
    drawing = [
        {"variant": "<lm>", "measures": {}, "temperatures": {"0.5": COLD, "1": {**WARM, "bleu": bleu}}}
        for bleu in (0.6, 0.7)
    ]
    assert not write(storage, [point], REAL, "texts")
    assert not any(map(storage.exists, (SVG, TABLE)))
    assert write(storage, [point, *drawing], REAL, "texts")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (tmp_path / TABLE).read_text().splitlines()[:6]]
    assert rows[0] == ["variant", "temperature", "self_bleu", "bleu", "js_1"]
    assert rows[2:] == [
        ["gan", "", "0.5", "0.5", "0.3"],
        ["<lm>", "0.5", "0.9", "0.8", "0.1"],
        ["<lm>", "1", "0.7", "0.65", "0.2"],
        ["real texts", "", "0.8", "0.9", "0"],
    ]
    drawn = ET.fromstring((tmp_path / SVG).read_text())
    said = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"gan", "<lm>", "real texts"} <= {*said}


def test_what_was_kept_of_runs(tmp_path: Path) -> None:
    """A curve of each run, and one point for the real texts that they share."""
    storages = {name: Storage(str(tmp_path / name)) for name in ("a", "b", "without")}
    assert of_runs(storages) is None
    for name in ("a", "b"):
        results = [
            Result(measures, 7, {"temperature": at}, {"real texts": {**COLD, "js_1": math.nan}})
            for at, measures in ((0.5, COLD), (1.0, WARM))
        ]
        keep_temperatures(storages[name], results)
    drawn = of_runs(storages)
    assert drawn is not None
    assert [path.label for path in drawn.paths] == ["a", "real texts", "b"]
