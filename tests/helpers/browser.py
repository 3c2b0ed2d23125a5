"""A real browser, and what a page in it asks for and logs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

STARTED = pytest.StashKey[webdriver.Chrome]()


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> webdriver.Chrome:
    """Debian's Chromium, without a window and without a network of its own: one for all modules of a session."""
    stash = request.config.stash
    if STARTED not in stash:
        stash[STARTED] = _start(tmp_path_factory.mktemp("chromium"))
        request.config.add_cleanup(stash[STARTED].quit)
    return stash[STARTED]


def _start(profile: Path) -> webdriver.Chrome:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromium-driver are not installed (make debian)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(driver))


def logged(browser: webdriver.Chrome, log: str) -> list[dict[str, Any]]:
    """What was logged since the last call."""
    entries: list[dict[str, Any]] = browser.get_log(log)  # type: ignore[no-untyped-call]
    return entries


def open_page(browser: webdriver.Chrome, page: Path | str, width: int = 1200) -> None:
    """Open the page, with nothing in the logs, in a window of this width; below 500 that of a telephone."""
    for log in ("browser", "performance"):
        logged(browser, log)  # what went before
    device = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    browser.get(page.as_uri() if isinstance(page, Path) else page)


def requested(browser: webdriver.Chrome, file: Path) -> set[str]:
    """Where the page sent requests to."""
    messages = [json.loads(entry["message"])["message"] for entry in logged(browser, "performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {each["request"]["url"] for each in sent if each["documentURL"].startswith(file.as_uri())}


def check(browser: webdriver.Chrome, file: Path) -> None:
    """What holds on every page: nothing is asked for, nothing goes wrong, all pictures are there and named."""
    sizes = browser.execute_script(
        "return Promise.all([...document.images].map(i => i.decode().then(() => [i.naturalWidth, i.alt.length])))"
    )
    assert sizes
    assert all(width > 0 and alt > 0 for width, alt in sizes)
    assert {url for url in requested(browser, file) if not url.startswith("data:")} == {file.as_uri()}
    assert logged(browser, "browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
