"""Links from pages to files outside docs/: each becomes a link to a page of the site that shows the file or folder.

So one link works in the repository's own view and on the site, and the site needs no network.
"""

import html
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
INCLUDED = {"readme": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
"""Pages that include a file of the repository's root, whose links start there."""
SHOWN = "repository"
"""Folder of the pages that show files."""
MOST_BYTES = 200_000


class RepositoryLinks(SphinxTransform):
    """Replaces links to files outside docs/ before Sphinx copies those files as downloads."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        docname = self.env.docname
        folder = ROOT if docname in INCLUDED else (DOCS / docname).parent
        for node in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            if node.get("reftype") != "myst":
                continue
            path = _inside(folder, unquote(node["reftarget"]).partition("#")[0])
            if path is None:
                continue
            names = {name: page for page, name in INCLUDED.items()}
            page = names.get(path) or f"{SHOWN}/{path}"
            link = nodes.reference(
                "", "", *node.children, internal=True, refuri=self.app.builder.get_relative_uri(docname, page)
            )
            if page.startswith(SHOWN):
                link["shows"] = path
            node.replace_self(link)


def _inside(folder: Path, target: str) -> str | None:
    """The path from the root of a file or folder outside docs/; None for any other target."""
    path = Path(os.path.normpath(folder / target))
    # Sphinx names a page without its suffix.
    path = next((each for each in (path, path.with_name(f"{path.name}.md")) if target and each.exists()), path)
    if not target or not path.exists() or path.is_relative_to(DOCS) or not path.is_relative_to(ROOT):
        return None
    return path.relative_to(ROOT).as_posix()


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file and folder that is linked, and for what those folders hold."""
    doctrees = map(app.env.get_doctree, sorted(app.env.found_docs))
    waiting = {link["shows"] for doctree in doctrees for link in doctree.findall(nodes.reference) if "shows" in link}
    done: set[str] = set()

    @cache
    def contents(depth: int) -> Callable[..., str]:
        """The site's contents, as a page links them that lies in `depth` folders: a third of the site's time if made
        for each."""
        page = f"{'folder/' * depth}page"
        return cache(lambda **options: app.builder._get_local_toctree(page, **options))  # type: ignore[attr-defined]

    while waiting:
        done.add(path := waiting.pop())
        held = _shown_in(ROOT / path) if (ROOT / path).is_dir() else None
        waiting |= {f"{path}/{each.name}" for each in held or ()} - done
        body = _file(app, path) if held is None else _folder(path, held)
        page = f"{SHOWN}/{path}"
        shown = {
            "title": path,
            "body": f"<h1>{html.escape(path)}</h1>{body}",
            "toctree": contents(page.count("/")),
        }
        yield page, shown, "page.html"


def _shown_in(folder: Path) -> list[Path]:
    """The folders, then the files of text, that a folder holds."""
    found = [each for each in sorted(folder.iterdir()) if not each.name.startswith((".", "__pycache__"))]
    return [each for each in found if each.is_dir()] + [each for each in found if each.is_file() and _is_text(each)]


def _is_text(file: Path) -> bool:
    return file.stat().st_size <= MOST_BYTES and b"\0" not in file.read_bytes()


def _folder(path: str, held: list[Path]) -> str:
    """Links from the folder's page to the pages of what it holds, which lie beside it in a folder of its name."""
    base = html.escape(Path(path).name)
    names = ((html.escape(each.name), "/" if each.is_dir() else "") for each in held)
    lines = (f'<li><a href="{base}/{name}.html">{name}{slash}</a></li>' for name, slash in names)
    return f"<ul>{''.join(lines)}</ul>"


def _file(app: Sphinx, path: str) -> str:
    text = (ROOT / path).read_text(errors="replace")
    try:
        language = get_lexer_for_filename(path).aliases[0]
    except ClassNotFound:
        language = "text"
    shown: str = app.builder.highlighter.highlight_block(text, language, force=True)  # type: ignore[attr-defined]
    return shown


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(RepositoryLinks)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True}
