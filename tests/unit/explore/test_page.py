"""The page, in a real browser; and the command, which Ctrl-C ends."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.helpers import forked
from tests.helpers.browser import browser, open_page  # noqa: F401

IDLE = "return state.shown !== null && !drawing"


@pytest.fixture(scope="module")
def url(run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the command, which Ctrl-C ends with one line and its usual status."""
    log = tmp_path_factory.mktemp("said") / "log"
    process = forked.command(log, "gandist.explore", run, "--images-seen", "60", "120", "--device", "cpu")
    try:
        line = forked.first_line(log, process)
        found = re.match(r"(http://127\.0\.0\.1:\d+/[\w-]{32}/) ", line)
        assert found is not None
        yield found[1]
        os.kill(process.pid, signal.SIGINT)  # type: ignore[arg-type]
        process.join(60)
        assert log.read_text() == f"{line}\ngandist: interrupted\n"
        assert process.exitcode == 130
    finally:
        process.kill()
        process.join()


def test_the_page(browser: webdriver.Chrome, url: str, tmp_path: Path) -> None:  # noqa: F811
    def found(name: str) -> WebElement:
        return browser.find_element(By.ID, name)

    def pictures() -> list[str | None]:
        WebDriverWait(browser, 60).until(lambda _: browser.execute_script(IDLE))
        return [each.get_attribute("src") for each in browser.find_elements(By.CSS_SELECTOR, "#models img")]

    open_page(browser, url, 390)
    of_seed = pictures()
    assert len({*of_seed}) == 2
    names = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#models figcaption")]
    assert names == ["a, 60 images seen", "a, 120 images seen"]

    # A slider moves by keys, and Reset undoes it
    slider = found("direction-0")
    slider.send_keys(Keys.ARROW_RIGHT * 5)
    assert slider.get_attribute("aria-valuetext") == "0.5"
    assert pictures() != of_seed
    found("keep").send_keys(Keys.ENTER)
    found("reset").send_keys(Keys.ENTER)
    assert pictures() == of_seed

    # Between two favourites
    found("keep").send_keys(Keys.ENTER)
    found("way").send_keys(Keys.END)
    assert pictures() == of_seed
    assert not found("keep").is_enabled()

    # A file of one's own, whose projection is stopped
    Image.new("L", (32, 32), 200).save(tmp_path / "own.png")
    found("file").send_keys(str(tmp_path / "own.png"))
    WebDriverWait(browser, 180).until(lambda _: len(pictures()) == 3)
    if found("cancel").is_displayed():
        found("cancel").send_keys(Keys.ENTER)
    WebDriverWait(browser, 60).until(lambda _: found("how-far").text.startswith(("Done.", "Cancelled.")))
    assert found("projected").is_displayed()
    found("back").send_keys(Keys.ENTER)
    assert pictures() == of_seed

    assert not found("fault").is_displayed()
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    unnamed = "return [...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    assert browser.execute_script(unnamed) == 0
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
