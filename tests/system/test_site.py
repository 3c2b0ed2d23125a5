"""The documentation as a site: it builds without a warning, needs no network, and no link of it is broken."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.helpers.checkout_copy import ROOT

pytest.importorskip("sphinx", reason="Sphinx is not installed")
pytestmark = pytest.mark.slow

GENERATED = ("genindex.html", "py-modindex.html", "search.html")
"""Pages of Sphinx's own, which the index does not list."""


class Page(HTMLParser):
    """Links, loaded resources and anchors of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") not in ("canonical", "next", "prev", "index", "search"):
            self.loaded.append(found.get("href", ""))
        elif "src" in found:
            self.loaded.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs-site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = re.search(r"-m (sphinx .*) docs docs/_build/html\n", (ROOT / "Makefile").read_text())
    assert command is not None
    words = [sys.executable, "-m", *command[1].split(), "-d", str(folder / "doctrees"), "docs", str(folder / "html")]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html"))}


def inside(page: Path, link: str) -> tuple[Path, str] | None:
    """The file and the anchor that a link leads to; None if it leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return at(page.parent, parts.path) if parts.path else page, unquote(parts.fragment)


@cache
def at(folder: Path, path: str) -> Path:
    return (folder / unquote(path)).resolve()


def test_every_page_is_reached_from_the_index(site: Path, pages: dict[Path, Page]) -> None:
    reached, waiting = set[Path](), [site / "index.html"]
    while waiting:
        reached.add(page := waiting.pop())
        found = [inside(page, link) for link in pages[page].links]
        waiting += [target[0] for target in found if target and target[0] in pages and target[0] not in reached]
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    written |= {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").glob("*.ipynb")}
    assert {site / path.with_suffix(".html") for path in written if path.parts[0] != "_build"} <= reached
    assert {page.relative_to(site).as_posix() for page in pages.keys() - reached} <= {*GENERATED}


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for page, read in pages.items():
        for link in read.links:
            target = inside(page, link)
            if target is None:
                continue
            file, anchor = target
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for page, read in pages.items():
        for source in read.loaded:
            target = inside(page, source)
            assert source.startswith("data:") or (target and target[0].is_file()), f"{page.name}: {source}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import ['\"]?(https?:)?//", style.read_text()), style.name


def test_it_can_be_searched(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert all(word in index for word in ('"quality"', '"api/networks"', "Kubernetes"))


def test_a_link_to_a_file_of_the_repository_shows_it(site: Path) -> None:
    assert "fashion-10k" in (site / "repository/configs/demo.yaml.html").read_text()
    assert "demo.yaml" in (site / "repository/configs.html").read_text()
