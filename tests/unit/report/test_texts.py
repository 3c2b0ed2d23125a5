"""The page of a run of texts: tables of what the same latents became, in a real browser."""

import re
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from gandist.data.dataset import with_symbols
from gandist.distributed.consensus import Host
from gandist.launch.resumption import prepare, run_root
from gandist.report import main
from gandist.training.worker import train
from tests.helpers.browser import browser as browser
from tests.helpers.browser import logged, open_page, requested
from tests.helpers.text_sets import make_texts
from tests.helpers.train_on_ranks import tiny

HEBREW = "אבגדהו"
SYMBOLS = f"{HEBREW}<>&"
TABLES = """return [...document.querySelectorAll('.texts table')].map(
    table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent)))"""
DIRECTIONS = """return [...arguments[0].querySelectorAll('td')].map(
    cell => [cell.textContent[0], getComputedStyle(cell).direction])"""
COLOURS = """return [getComputedStyle(document.querySelector('.texts td')).color,
    getComputedStyle(document.body).backgroundColor]"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on texts of two classes, with previews at 0, 60 and 120."""
    folder = tmp_path_factory.mktemp("runs")
    texts = [a + b + c for a in SYMBOLS for b in SYMBOLS for c in SYMBOLS]
    path = make_texts(folder / "set", texts, [i % 2 for i in range(len(texts))])
    data = {"path": path, "medium": "text", "options": {"length": 4}, "cache_dir": str(folder / "cache")}
    model = {"name": "textgan", "width": 4, "z_dim": 4, "classes": 2}
    every = {"train__sample_kimg": 0.06, "eval": {"every_kimg": 0.06, "n": 120}}
    config = with_symbols(tiny(folder, "words", data=data, model=model, precision="fp32", **every))
    assert train(config, prepare(config, "auto"), Host()).status == "done"
    return Path(run_root(config))


def test_texts_over_time(run: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert main([str(run), "--neighbours", "--out", str(file)]) == 0
    for width, scheme in ((360, "light"), (1200, "dark")):
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
        open_page(browser, file, width)
        assert {url for url in requested(browser, file) if not url.startswith("data:")} == {file.as_uri()}
        assert logged(browser, "browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        ink, paper = browser.execute_script(COLOURS)
        assert ink != paper
    over_time, by_class, between, near = browser.execute_script(TABLES)

    assert over_time[0] == ["", "0", "60", "120"]
    assert [row[0] for row in over_time[1:]] == ["class 0"] * 10 + ["class 1"] * 10
    files = [(run / f"samples/{seen:08d}.txt").read_text().split("\n")[:-1] for seen in (0, 60, 120)]
    assert [row[1:] for row in over_time[1:]] == [list(each) for each in zip(*files, strict=True)]
    assert {*"".join(files[0])} & {"<", "&"}, "to be escaped"
    assert [len(row) for row in by_class] == [11] * 3
    assert [len(row) for row in between] == [11] * 5
    assert [len(row) for row in near] == [6] * 9

    table = browser.find_element(By.CSS_SELECTOR, ".texts table")
    directions = {way for first, way in browser.execute_script(DIRECTIONS, table) if first and first in HEBREW}
    assert directions == {"rtl"}
    assert browser.find_element(By.CLASS_NAME, "slider").is_displayed() is False
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".chart figcaption")]
    assert any(title.startswith("Divergence of n-grams in bits: lower is better") for title in titles)
    assert "js_2, real texts " in browser.find_element(By.ID, "curves").find_element(By.XPATH, "..").text
    words = browser.find_element(By.TAG_NAME, "main").text
    assert not re.search(r"\b(images?|pixels?|grids?)\b", words.partition("Configuration")[0], re.IGNORECASE)
