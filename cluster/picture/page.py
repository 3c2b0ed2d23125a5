"""A dashboard as an HTML page, and that as a PNG."""

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cluster.picture.panels import rows_of
from cluster.picture.window import Window
from gandist.errors import ConfigError
from gandist.report.document import SHARED

FOLDER = Path(__file__).parent


def page(dashboard: Mapping[str, Any], window: Window, variables: Mapping[str, str], only: Sequence[str] = ()) -> str:
    """The dashboard as an HTML page that loads nothing.

    Args:
        only: titles of the rows to draw; empty for all.

    Raises:
        ConfigError: as `rows_of`; or there is no row of such a title.
    """
    rows = rows_of(dashboard, window, variables)
    if unknown := set(only) - {row.title for row in rows}:
        raise ConfigError(f"--rows {unknown.pop()}: the dashboard has {', '.join(row.title for row in rows)}")
    environment = Environment(
        loader=FileSystemLoader([FOLDER, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    start, end = (datetime.fromtimestamp(each, UTC) for each in (window.start_s, window.end_s))
    return environment.get_template("dashboard.html").render(
        title=dashboard["title"],
        style=(SHARED / "page.css").read_text(),
        rows=[row for row in rows if not only or row.title in only],
        begins=f"{start:%H:%M:%S}",
        window=f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC, a point each {window.step_s:g} s",
        variables=variables,
        annotations=dashboard["annotations"]["list"],
    )


def screenshot(html: str, width: int, dark: bool) -> bytes:
    """A page as a PNG of 256 colours, taken by Chromium.

    Raises:
        ConfigError: Chromium, its driver or selenium is not installed.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver or find_spec("selenium") is None:
        raise ConfigError(
            "--out FILE.png needs Chromium with its driver (make debian) and selenium (extra `dev`); FILE.html does not"
        )
    from selenium import webdriver

    with tempfile.TemporaryDirectory(prefix="gandist-") as folder:
        file = Path(folder) / "page.html"
        file.write_text(html)
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/chromium",
        ):
            options.add_argument(flag)
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            browser.set_window_size(width, 800)
            browser.get(file.as_uri())
            height = browser.execute_script("return Math.ceil(document.documentElement.getBoundingClientRect().height)")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            taken = browser.get_screenshot_as_png()
        finally:
            browser.quit()
    png = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(png, "PNG", optimize=True)
    return png.getvalue()
