"""The page of a run of clips: they play, stand still at a button, and lie frame by frame, in a real browser."""

import importlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.media.animated import preview_of
from gandist.report import main
from gandist.report.page import page
from gandist.run import previews
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.animated import animating, clip_set, moving
from tests.helpers.browser import browser as browser
from tests.helpers.browser import check, open_page
from tests.unit.report.test_report import shown, titled

NAME = "Clips of clips at 120 clips seen"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose newest preview moves much."""
    folder = tmp_path_factory.mktemp("runs")
    config = animating(folder, "clips", clip_set(folder / "set"), train__sample_kimg=0.06)
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    run = Path(run_root(config))
    previews.write(Storage(str(run)), 120, preview_of(moving(20, 4, 32), 10, 8))
    return run


@pytest.fixture(scope="module")
def file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page, with measures of motion."""
    measures = {"fvd-clips": 3.0, "motion": 0.5, "motion_spread": 0.4, "consistency": 0.9, "frozen": 0.0}
    real = {"motion": 1.0, "motion_spread": 1.0, "consistency": 0.8, "frozen": 0.0}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows[-1] |= {f"quality/{name}": value for name, value in measures.items()} | {"signal/motion": 0.5}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {"images_seen": 120, "measures": measures, "baselines": {"real clips": real}, "protocol": {}}
    (run / "evaluations.jsonl").write_text(json.dumps(found) + "\n")
    file = tmp_path_factory.mktemp("pages") / "page.html"
    assert main([str(run), "--neighbours", "--out", str(file)]) == 0
    return file


@pytest.fixture
def media(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A browser with wishes of its user, which are taken back."""
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def wish(browser: webdriver.Chrome, **wishes: str) -> None:
    features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def pixels(part: WebElement) -> np.ndarray:
    """What is seen of a part of the page."""
    return np.asarray(Image.open(io.BytesIO(part.screenshot_as_png)).convert("L"))


def looks(part: WebElement, n: int = 5) -> int:
    """How many different pictures it shows within `n` looks, an eighth of a second and more apart; 2 if more."""
    found = {pixels(part).tobytes()}
    for _ in range(n - 1):
        time.sleep(0.13)
        found.add(pixels(part).tobytes())
        if len(found) > 1:
            break
    return len(found)


def first(browser: webdriver.Chrome) -> tuple[WebElement, WebElement]:
    """Frame and button of the newest clips, once they are ready."""
    WebDriverWait(browser, 20).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, ".ready")) == 4)
    part = browser.find_element(By.CSS_SELECTOR, ".playing")
    return part.find_element(By.CSS_SELECTOR, ".frames"), part.find_element(By.TAG_NAME, "button")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
def test_clips_play_and_stop(file: Path, media: webdriver.Chrome, scheme: str) -> None:
    """By a key, as often as one likes; in place, so that nothing else moves."""
    wish(media, color_scheme=scheme)
    open_page(media, file)
    check(media, file)
    frame, button = first(media)
    assert looks(frame) > 1
    where = button.rect
    button.send_keys(Keys.SPACE)
    assert looks(frame) == 1
    assert button.rect == where
    assert (button.text, button.accessible_name) == ("Play", f"Play: {NAME}")
    still = frame.find_element(By.TAG_NAME, "canvas")
    assert (still.aria_role, still.accessible_name) == ("image", f"{NAME}, stopped")
    assert pixels(still).std() > 20, "a frame, not an empty picture"
    button.send_keys(Keys.ENTER)
    assert looks(frame) > 1
    assert button.accessible_name == f"Stop: {NAME}"
    assert frame.find_element(By.TAG_NAME, "img").accessible_name == f"{NAME}, playing"


def test_earlier_clips_lie_frame_by_frame(file: Path, browser: webdriver.Chrome) -> None:
    open_page(browser, file, 360)
    check(browser, file)
    frame, button = first(browser)
    (strip,) = shown(browser)
    assert strip.accessible_name == f"{NAME}, frame by frame"
    slider = browser.find_element(By.ID, "seen")
    slider.send_keys(Keys.HOME)
    (strip,) = shown(browser)
    assert strip.accessible_name == "Clips of clips at 0 clips seen, frame by frame"
    assert not frame.is_displayed()
    assert not button.is_displayed()
    slider.send_keys(Keys.END)
    assert frame.is_displayed()

    names = [each.accessible_name for each in browser.find_elements(By.TAG_NAME, "button")]
    drawn = [f"Stop: {title} of clips" for title in ("Classes", "Interpolation", "Nearest training clips")]
    assert names == [f"Stop: {NAME}", *drawn]
    labels = frame.find_elements(By.XPATH, "preceding-sibling::ol/li")
    height = frame.size["height"] / 2
    for row, label in enumerate(labels):
        middle = label.rect["y"] + label.rect["height"] / 2 - frame.rect["y"]
        assert row * height < middle < (row + 1) * height
    words = browser.find_element(By.TAG_NAME, "main").text
    assert not re.search(r"\b(images?|pixels?)\b", words.partition("Configuration")[0], re.IGNORECASE)

    distance = titled(browser, "Fréchet distance: lower is better")
    assert distance.find_element(By.TAG_NAME, "li").text.strip() == "fvd-clips"
    motion = titled(browser, "Motion over that of real clips: 1 is right")
    assert [each.text.strip() for each in motion.find_elements(By.TAG_NAME, "li")] == ["motion", "motion_spread"]
    assert motion.find_element(By.CSS_SELECTOR, ".note").text == "real clips 1"
    assert len(motion.find_elements(By.CSS_SELECTOR, "line.level")) == 1
    assert "real clips, without learning" not in words


def test_less_motion_and_no_script(file: Path, media: webdriver.Chrome) -> None:
    """Who prefers less motion starts it; without a script the clips play for others, and the frames lie there."""
    wish(media, reduced_motion="reduce")
    open_page(media, file)
    frame, button = first(media)
    assert looks(frame) == 1
    assert button.accessible_name == f"Play: {NAME}"
    button.click()
    assert looks(frame) > 1
    media.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    for wished, plays in (("reduce", False), ("no-preference", True)):
        wish(media, reduced_motion=wished)
        open_page(media, file)
        assert media.find_element(By.CSS_SELECTOR, ".playing img").is_displayed() == plays
        assert not media.find_element(By.TAG_NAME, "button").is_displayed()
        assert [each.accessible_name for each in shown(media)] == [f"{NAME}, frame by frame"]


def test_a_page_of_clips_stays_small(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier grids do not play, and only as many of their strips are there as fit."""
    html = page([str(run)], False)
    assert html.count("data:image/webp") == 3, "the newest, and two drawn from the checkpoint"
    assert html.count('frame by frame" hidden') == 2
    monkeypatch.setattr(importlib.import_module("gandist.report.page"), "SAMPLES_BYTES", 1)
    html = page([str(run)], False)
    assert html.count('frame by frame" hidden') == 0
    assert "(1 of 3 strips, spread evenly, to keep the page small)" in html
