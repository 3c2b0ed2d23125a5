"""`--compare`: the page, in a real browser."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gandist.apply import main
from tests.helpers.browser import browser as browser
from tests.unit.apply.conftest import smooth


@pytest.fixture
def page(run: Callable[[str], str], tmp_path: Path) -> Path:
    """Of two pictures, whose names are no markup."""
    for number, name in enumerate(("<b>a", "b")):
        Image.fromarray(smooth(50, 300 * number + 40)).save(tmp_path / f"{name}.png")
    assert main([run("enlarge"), f"{tmp_path}/*.png", "--out", str(tmp_path / "out"), "--compare"]) == 0
    return tmp_path / "out/compare.html"


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_holds_all_that_it_shows(page: Path) -> None:
    elements = Elements(page.read_text())
    assert [image["alt"] for image in elements.of("img")] == ["<b>a, after", "<b>a, before", "b, after", "b, before"]
    assert all(str(image["src"]).startswith("data:image/") for image in elements.of("img"))
    assert [(each["type"], each["value"]) for each in elements.of("input")] == [("range", "50")] * 2
    assert not elements.of("b")
    assert all("src" not in script for script in elements.of("script"))
    assert [link["href"] for link in elements.of("link")] == ["data:,"]
    assert "prefers-color-scheme: dark" in page.read_text()


def test_a_filled_hole_is_grey_before(run: Callable[[str], str], tmp_path: Path) -> None:
    picture = smooth(40, 40).clip(0, 254)
    picture[10:20] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert main([run("fill"), f"{tmp_path}/a.png", "--out", str(out), "--compare", "--mask", "white"]) == 0
    assert "the hole is grey" in (out / "compare.html").read_text()


def test_the_slider_moves_by_keys(browser: webdriver.Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    slider = browser.find_elements(By.CSS_SELECTOR, "input[type=range]")[0]
    before, after = (browser.find_elements(By.CSS_SELECTOR, f"img.{name}")[0] for name in ("before", "after"))
    assert slider.is_displayed()
    assert before.rect == after.rect
    clipped = [before.value_of_css_property("clip-path")]
    for key in (Keys.ARROW_RIGHT, Keys.HOME, Keys.END):
        slider.send_keys(key)
        clipped.append(before.value_of_css_property("clip-path"))
    assert [slider.get_attribute("value"), slider.get_attribute("aria-valuetext")] == ["100", "100% before"]
    assert len(set(clipped)) == 4
    others = browser.find_elements(By.CSS_SELECTOR, "input[type=range]")[1]
    assert others.get_attribute("value") == "50"
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
