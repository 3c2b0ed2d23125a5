"""The charts of a sweep against its findings, and what pointing and sorting do in a real browser."""

import math
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from gandist.report.axes import TOP
from gandist.tune.importance import importance
from gandist.tune.lineage import descent, lineage
from gandist.tune.page import page
from gandist.tune.plots import by_parameter, curves, front, parallel
from gandist.tune.trials import Findings, Point, Taken
from tests.helpers.browser import browser, check, open_page  # noqa: F401
from tests.helpers.scripts import python
from tests.unit.report.test_report import EVIL
from tests.unit.tune.test_page import METRIC, findings, ten, trial  # noqa: F401


def corners(d: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", d)]


def test_a_sweep_whose_trials_all_failed(tmp_path: Path) -> None:
    """They were measured, yet there is no number of images that those that did not fail share."""
    text = page(findings([trial(tmp_path, i, "crashed", reason="lost") for i in range(6)]))
    assert "not equal terms" in text
    assert "Best trial" not in text
    assert text.count('class="cross') >= 6 * 3, "on the curves, and by each parameter that all have"


def test_trials_that_were_measured_at_different_times(tmp_path: Path) -> None:
    trials = [trial(tmp_path, i, curve=[Point(4000 + i, {METRIC: 1.0 + i})]) for i in range(6)]
    text = page(findings(trials))
    assert "not equal terms" in text
    assert "images: 0; it takes 5" in text


def test_a_trial_that_has_only_begun_takes_nothing_from_the_rest(ten: Findings, tmp_path: Path) -> None:  # noqa: F811
    begun = replace(ten, trials=[*ten.trials, trial(tmp_path, 10, "pending", curve=[], images_seen=0)])
    assert begun.common_images() == ten.common_images() == 4000
    assert "At 4 kimg, where" in page(begun)


def test_curves_end_as_the_trials_did(ten: Findings) -> None:  # noqa: F811
    shapes = curves(ten).shapes
    (cross,) = [shape for shape in shapes if shape.kind == "cross"]
    assert (cross.trial, cross.state) == ("00009", "failed")
    assert corners(cross.d)[0][1] == TOP - 4, "which never had a finite value"
    assert {shape.trial for shape in shapes if shape.kind == "ring"} == {"00002", "00005"}
    lines = {shape.trial: shape for shape in shapes if shape.kind == "line"}
    assert (lines["00008"].state, lines["00002"].state) == ("best", "stopped")
    ys = {name: corners(line.d)[0][1] for name, line in lines.items()}
    assert sorted(ys, key=ys.__getitem__) == sorted(ys), "the less, the lower on the chart"
    assert shapes[-1].trial == "00008", "the best on top"


def test_past_what_a_trial_does_not_have(ten: Findings) -> None:  # noqa: F811
    shapes = parallel(ten).shapes
    bridges = {shape.trial: corners(shape.d) for shape in shapes if shape.kind == "bridge"}
    lines = {shape.trial: corners(shape.d) for shape in shapes if shape.kind == "line"}
    assert sorted(bridges) == ["00000", "00002", "00004", "00006", "00008"]
    assert bridges["00000"] == lines["00000"][:2], "from game.objective to optim.lr_G"
    axis = lines["00001"][1][0]
    assert bridges["00000"][0][0] < axis < bridges["00000"][1][0]


def test_boxes_tell_the_findings(ten: Findings) -> None:  # noqa: F811
    (plot,) = [plot for plot in by_parameter(ten) if plot.title == "game.objective"]
    by_value: dict[str, list[float]] = {"ns": [], "wasserstein": []}
    for each in ten.trials:
        value = each.value(METRIC, 4000)
        if value is not None:
            by_value[each.params["game.objective"]].append(value)
    boxes = [shape.label for shape in plot.shapes if shape.kind == "box"]
    assert boxes == [
        f"{name}: median {statistics.median(values):g} of {len(values)}" for name, values in by_value.items()
    ]
    assert {text.text for text in plot.texts} >= {"ns (5)", "wasserstein (4)"}


def population(folder: Path) -> Findings:
    """0 takes from 2 at 4000, 2 is then ousted by 1 at 6000; 0 ends as the best."""
    rates: dict[int, list[Taken]] = {
        0: [Taken(4000, "00002", {"game.objective": "ns", "optim.lr_G": 3e-4})],
        2: [Taken(6000, "00001", {"game.objective": "ns", "optim.lr_G": 2e-5})],
    }
    lasts = (10.0, 50.0, 60.0)
    return findings(
        [
            trial(
                folder,
                i,
                params=rates[i][-1].params if i in rates else {"game.objective": "ns", "optim.lr_G": 1e-3},
                lineage=rates.get(i, []),
                curve=[Point(2000, {METRIC: 80.0}), Point(8000, {METRIC: last})],
            )
            for i, last in enumerate(lasts)
        ]
    )


def test_the_best_descends_from_whose_weights_it_took(tmp_path: Path) -> None:
    found = population(tmp_path)
    assert descent(found) == [("00000", 4000, 8000), ("00002", 0, 4000)], "not from 1: 2 took its weights later"
    lanes, *steps = lineage(found)
    assert sum(shape.kind == "arrow" for shape in lanes.shapes) == 2
    assert [plot.title for plot in steps] == ["optim.lr_G"]
    starts = {shape.trial: corners(shape.d)[0][0] for shape in steps[0].shapes}
    assert starts["00001"] < starts["00000"] < starts["00002"], "of 0 and 2 it is not known what was before"
    assert lineage(findings([trial(tmp_path, 1)])) == []


def test_what_a_trial_had_when_it_was_measured(tmp_path: Path) -> None:
    found = population(tmp_path)
    early = replace(found, trials=[replace(each, curve=each.curve[:1]) for each in found.trials])
    (plot,) = [plot for plot in by_parameter(early) if plot.title == "optim.lr_G"]
    assert [shape.trial for shape in plot.shapes] == ["00001"], "at 2 kimg the others had values that are not known"
    assert "0.001" in plot.shapes[0].label


def test_the_front_is_listed(tmp_path: Path) -> None:
    found = findings([trial(tmp_path, i) for i in range(4)], metrics={METRIC: "min", "train_s": "min"})
    text = page(found)
    assert len(re.findall(r"<li data-trial=", text)) == len(found.front()) == 4
    plot = front(found)
    assert plot is not None
    (line,) = [shape for shape in plot.shapes if shape.kind == "front"]
    assert len(corners(line.d)) == 4


@pytest.mark.parametrize("mode", ["min", "max"])
def test_importance_goes_by_the_best_end(tmp_path: Path, mode: Any) -> None:
    """Below 1e-3 the rate decides nothing; a clip that only some have decides nothing at all."""
    sign = 1 if mode == "min" else -1
    trials = []
    for i in range(30):
        params = {"game.objective": ("ns", "wasserstein")[i % 2], "optim.lr_G": 10 ** (-5 + i / 10)}
        if i % 2:
            params["game.clip"] = 0.01 + (i * 7 % 30) / 400
        trials.append(trial(tmp_path, i, params=params, curve=[Point(8000, {METRIC: sign * abs(i - 15.0)})]))
    found = importance(findings(trials, metrics={METRIC: mode}))
    assert next(iter(found.shares)) == "optim.lr_G"
    assert set(found.shares) == {"optim.lr_G", "game.objective", "game.clip"}
    assert (found.best, found.trials) == (5, 30)


@pytest.mark.slow
def test_importance_needs_no_more_than_optuna(tmp_path: Path) -> None:
    """No scikit-learn, and nothing is printed: in a process of its own, where no other test has imported any."""
    script = (
        "import sys, warnings; sys.modules['sklearn'] = None; warnings.simplefilter('error', FutureWarning)\n"
        "from pathlib import Path\n"
        "from tests.unit.tune.test_page import findings, trial\n"
        "from gandist.tune.importance import importance\n"
        f"assert importance(findings([trial(Path({str(tmp_path)!r}), i) for i in range(8)])).shares\n"
    )
    done = python("-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_variation_has_no_importance(tmp_path: Path) -> None:
    trials = [trial(tmp_path, i, curve=[Point(8000, {METRIC: 3.0})]) for i in range(8)]
    assert "measured the same" in importance(findings(trials)).why_not


def pointed(browser: webdriver.Chrome) -> set[str | None]:  # noqa: F811
    return {each.get_attribute("data-trial") for each in browser.find_elements(By.CSS_SELECTOR, ".pointed")}


def seen(browser: webdriver.Chrome, element: WebElement) -> WebElement:  # noqa: F811
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    return element


@pytest.mark.slow
def test_pointing_in_a_chart(ten: Findings, browser: webdriver.Chrome, tmp_path: Path) -> None:  # noqa: F811
    """At the end of the best curve; then by keyboard; on a phone too nothing sticks out."""
    file = tmp_path / "report.html"
    file.write_text(page(ten))
    for width in (360, 1240):
        open_page(browser, file, width)
        check(browser, file)
    dot = browser.find_element(By.CSS_SELECTOR, '#curves ~ .plot .dot[data-trial="00008"]')
    seen(browser, dot)
    ActionChains(browser).move_to_element(dot).perform()
    assert pointed(browser) == {"00008"}
    told = browser.find_element(By.CLASS_NAME, "told").text
    assert told.startswith("Trial: 00008 52, done at 8 kimg; game.objective ns, optim.lr_G 0.001")
    ActionChains(browser).click().move_by_offset(0, 120).perform()
    assert pointed(browser) == {"00008"}, "a click keeps it"
    button = browser.find_element(By.CSS_SELECTOR, 'tr[data-trial="00003"] button')
    browser.execute_script("arguments[0].focus()", button)
    assert pointed(browser) == {"00003"}
    seen(browser, button).click()
    assert button.get_attribute("aria-pressed") == "true"


def test_numbers_sort_as_numbers(tmp_path: Path, browser: webdriver.Chrome) -> None:  # noqa: F811
    """Also those with a comma; what has no value comes last, either way."""
    values = (56.0, 1234.5, 7.0, math.nan, 99_999.0)
    trials = [trial(tmp_path, i, curve=[Point(8000, {METRIC: value})]) for i, value in enumerate(values)]
    file = tmp_path / "report.html"
    file.write_text(page(findings(trials)))
    open_page(browser, file)
    button = browser.find_element(By.XPATH, f"//th/button[text()='{METRIC}']")
    for expected in ("20143", "41023"):
        seen(browser, button).click()
        rows = browser.find_elements(By.CSS_SELECTOR, "#table tbody tr")
        assert "".join(str(row.get_attribute("data-trial"))[-1] for row in rows) == expected
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"


@pytest.mark.slow
def test_nothing_in_a_sweep_becomes_markup(tmp_path: Path, browser: webdriver.Chrome) -> None:  # noqa: F811
    params = {EVIL: EVIL, "optim.lr_G": 1e-3}
    evil = [
        trial(tmp_path, i, "crashed" if i else "done", name=f"{EVIL}{i}", reason=EVIL, params=params) for i in (0, 1)
    ]
    found = findings(evil, name=EVIL, search={EVIL: EVIL}, space={EVIL: {"choice": [EVIL]}})
    file = tmp_path / "evil.html"
    file.write_text(page(found))
    open_page(browser, file)
    check(browser, file)
    assert browser.title == f"{EVIL} - gandist sweep"
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1
