"""The page of a sweep: what is on it, and in a real browser what it does."""

import html
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from gandist.media.animated import preview_of
from gandist.media.sound import wav_bytes
from gandist.run import previews
from gandist.storage.storage import Storage
from gandist.tune.importance import importance
from gandist.tune.page import page
from gandist.tune.plots import by_parameter, curves, parallel
from gandist.tune.trials import Direction, Findings, Point, Taken, TrialRecord, TrialState
from tests.helpers.animated import moving
from tests.helpers.browser import browser, check, open_page  # noqa: F401
from tests.unit.report.test_report import EVIL

METRIC = "quality/fd-classifier"
SPACE: dict[str, Any] = {
    "game.objective": {"choice": ["ns", "wasserstein"]},
    "game.clip": {"loguniform": [0.01, 0.1], "when": {"game.objective": ["wasserstein"]}},
    "optim.lr_G": {"loguniform": [1e-5, 1e-2]},
}


def trial(folder: Path, i: int, state: TrialState = "done", **changes: Any) -> TrialRecord:
    """A trial whose metric falls with its number, and the more so the longer it runs."""
    run = folder / f"{i:05d}"
    (run / "samples").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), i, np.uint8)).save(run / "samples" / "00008000.png")
    params: dict[str, Any] = {"game.objective": ("ns", "wasserstein")[i % 2], "optim.lr_G": 10 ** (-5 + i / 4)}
    if i % 2:
        params["game.clip"] = 0.01 + i / 200
    ends = (4000,) if state == "stopped" else (4000, 8000)
    curve = [Point(seen, {METRIC: 100.0 - 5 * i - seen / 1000, "train_s": 10.0 + i}) for seen in ends]
    values = {"name": f"{i:05d}", "run": str(run), "params": params, "state": state, "reason": "", "curve": curve}
    return TrialRecord(**{**values, "images_seen": ends[-1], "train_s": 10.0 + i, "lineage": [], **changes})


def findings(trials: list[TrialRecord], **changes: Any) -> Findings:
    metrics: dict[str, Direction] = {METRIC: "min"}
    values: dict[str, Any] = {"name": "s", "metrics": metrics, "space": SPACE, "search": {"Searcher": "random"}}
    return Findings(**{**values, "total_images": 8000, "trials": trials, **changes})


@pytest.fixture
def ten(tmp_path: Path) -> Findings:
    """Seven to the end, two stopped early, one that came apart."""
    trials = [trial(tmp_path, i, "stopped" if i in (2, 5) else "done") for i in range(9)]
    broken = [Point(4000, {METRIC: math.nan, "train_s": 1.0})]
    return findings([*trials, trial(tmp_path, 9, "diverged", reason=EVIL, curve=broken)])


def test_the_numbers_on_it_are_the_findings(ten: Findings) -> None:
    text = page(ten)
    best = ten.best()
    assert best is not None
    assert best.name == "00008"
    assert f"00008: {100 - 40 - 8}, in" in text
    assert ten.common_images() == 4000, "those that failed do not count"
    assert "best 56, median 76" in text
    assert ten.images() == 7 * 8000 + 2 * 4000 + 8000
    assert f"{ten.images():,}" in text
    assert "10% of what all trials to their end" in text
    assert text.count("data:image/png") == 3, "the best, the worst, the failed"


def test_every_text_is_escaped(ten: Findings) -> None:
    text = page(ten)
    assert EVIL not in text
    assert html.escape(EVIL, quote=False)[:20] in text


def test_the_sounds_of_trials_are_heard(ten: Findings) -> None:
    best = ten.best()
    assert best is not None
    assert "<audio" not in page(ten)
    for number in range(2):
        file = Path(best.run) / f"samples/00008000/{number}.wav"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(wav_bytes(np.full((100, 1), number, np.int16), 8000))
    text = page(ten)
    assert text.count("<audio") == 2
    assert 'aria-label="row 2, the best trial, 2 of 2"' in text


def test_the_clips_of_trials_play(ten: Findings) -> None:
    best = ten.best()
    assert best is not None
    previews.write(Storage(best.run), 9000, preview_of(moving(4, 3, 8), 2, 8))
    text = page(ten)
    assert text.count('class="playing"') == text.count("data:image/webp") == 1
    assert text.count("data:image/png") == 3, "the strip, and two grids"
    assert 'alt="Samples of the best trial, frame by frame"' in text


def test_the_texts_of_trials_are_listed(ten: Findings) -> None:
    best = ten.best()
    assert best is not None
    file = Path(best.run) / "samples/00009000.txt"
    file.write_text("<b>one\nאבג\n")
    text = page(ten)
    assert '<li dir="auto">&lt;b&gt;one</li><li dir="auto">אבג</li></ul>' in text
    file.unlink()


def test_what_is_conditional_is_drawn_where_it_is(ten: Findings) -> None:
    lines = {shape.trial: shape.d for shape in parallel(ten).shapes if shape.kind == "line"}
    assert lines["00001"].count("M") == 1
    assert lines["00000"].count("M") == 2, "broken at the axis that it does not have"
    plots = {plot.title: plot for plot in by_parameter(ten)}
    assert sorted(shape.trial for shape in plots["game.clip"].shapes) == ["00001", "00003", "00005", "00007"]
    assert sum(shape.kind == "box" for shape in plots["game.objective"].shapes) == 2


def test_shapes_lie_on_the_chart(ten: Findings) -> None:
    for plot in (curves(ten), *by_parameter(ten)):
        for shape in plot.shapes:
            x, y = map(float, re.match(r"M(-?[\d.]+) (-?[\d.]+)", shape.d).groups())  # type: ignore[union-attr]
            assert 0 <= x <= plot.width
            assert 0 <= y <= plot.height


def test_importance_finds_what_matters(tmp_path: Path) -> None:
    """Trials whose metric is the learning rate's alone."""
    rng = np.random.default_rng(0)
    trials = []
    for i in range(40):
        exponent = rng.uniform(-5, -2)
        params = {"optim.lr_G": 10**exponent, "game.objective": ("ns", "wasserstein")[rng.integers(2)]}
        curve = [Point(8000, {METRIC: (exponent + 3) ** 2})]
        trials.append(trial(tmp_path, i, params=params, curve=curve))
    found = importance(findings(trials))
    assert next(iter(found.shares)) == "optim.lr_G"
    assert found.shares["optim.lr_G"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "it takes 5" in importance(findings(trials[:4])).why_not


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_trials(tmp_path: Path, n: int) -> None:
    text = page(findings([trial(tmp_path, i) for i in range(n)]))
    assert ("Nothing was measured yet" in text) == (n == 0)


def test_a_population_and_two_metrics(tmp_path: Path) -> None:
    taken = Taken(4000, "00002", {"game.objective": "ns", "optim.lr_G": 3e-4})
    trials = [trial(tmp_path, i, lineage=[taken] if i == 0 else []) for i in range(3)]
    text = page(findings(trials, metrics={METRIC: "min", "train_s": "min"}))
    assert "00000 takes the weights of 00002 at 4 kimg: game.objective ns, optim.lr_G 3e-4" in text
    assert f"{METRIC} against train_s" in text
    front = findings(trials, metrics={METRIC: "min", "train_s": "min"}).front()
    assert [each.name for each in front] == ["00002", "00001", "00000"], "slower, but better"
    greatest = findings(trials, metrics={METRIC: "max", "train_s": "min"})
    assert [each.name for each in greatest.front()] == ["00000"]


def test_in_a_browser(ten: Findings, browser: webdriver.Chrome, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "report.html"
    file.write_text(page(ten))
    open_page(browser, file)
    check(browser, file)
    rows = browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    assert [row.get_attribute("data-trial") for row in rows][:2] == ["00008", "00007"]
    ActionChains(browser).move_to_element(rows[1]).perform()
    linked = browser.find_elements(By.CSS_SELECTOR, ".pointed")
    assert {each.get_attribute("data-trial") for each in linked} == {"00007"}
    assert len(linked) >= 5, "its row, curve, line and a mark a parameter"
    assert browser.find_element(By.ID, "pointed").text == "00007"
    browser.find_element(By.XPATH, "//th/button[text()='optim.lr_G']").click()
    names = [row.get_attribute("data-trial") for row in browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")]
    assert names == [f"{i:05d}" for i in range(10)]
    browser.find_element(By.XPATH, "//th/button[text()='optim.lr_G']").click()
    names = [row.get_attribute("data-trial") for row in browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")]
    assert names[0] == "00009"
