"""Docstrings as reStructuredText. In the code they are plain text, with `names` and Google's sections."""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

SECTION = re.compile(r"(Args|Raises|Returns|Yields):$")


def process(app: Sphinx, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    """What Python says of a named tuple's field without a docstring is left out."""
    kept = [line for line in lines if not re.match(r"Alias for field number \d+$", line)]
    marked = "\n".join(_with_code_marked(kept))
    parts = re.split(r"(`[^`]+`|^    .*::$)", marked)
    text = "".join(_code(part) if part.startswith("`") else re.sub(r"([*|]|_\b)", r"\\\1", part) for part in parts)
    lines[:] = GoogleDocstring(text, what="object", name=name).lines()


def _code(span: str) -> str:
    return f"`{span}`\\ "


def _with_code_marked(lines: list[str]) -> list[str]:
    """The lines, with a mark before each example: an indented block that no section holds."""
    marked: list[str] = []
    outer = ""
    for before, line in zip(["", *lines], lines, strict=False):
        indented = line.startswith("    ")
        if indented and not before and not SECTION.match(outer) and not (marked and marked[-1].startswith("    ")):
            marked += [".. code-block:: python", ""]
        outer = outer if indented or not line else line
        marked.append(line)
    return marked


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
