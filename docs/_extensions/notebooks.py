"""Notebooks as pages: their Markdown as it is, their code as blocks, and the outputs that they were committed with."""

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx


class NotebookParser(MystParser):
    """Reads the JSON of a notebook (nbformat 4) as one page of Markdown."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse("\n\n".join(_blocks(json.loads(inputstring)["cells"])), document)


def _blocks(cells: list[dict[str, Any]]) -> Iterator[str]:
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield text
            continue
        yield f"```python\n{text}\n```"
        for output in cell["outputs"]:
            yield _output(output)


def _output(output: dict[str, Any]) -> str:
    """The richest form that an output has, as Markdown."""
    data = output.get("data", {})
    for kind in ("image/svg+xml", "text/html"):
        if kind in data:
            return f"```{{raw}} html\n{''.join(data[kind])}\n```"
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            source = f"data:{kind};base64,{''.join(data[kind]).strip()}"
            return f'```{{raw}} html\n<p><img src="{source}" alt="Output of the cell above"></p>\n```'
    return f"```text\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
