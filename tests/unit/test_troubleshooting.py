"""Every message that docs/troubleshooting.md quotes is one that the code has."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from gandist.config.run import field_paths
from tests.helpers.checkout_copy import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| (?!---)", line)]
QUOTED = [
    quoted for _, *cells in ROWS for quoted in re.findall(r"`([^`]*…[^`]*|gandist: interrupted)`", "".join(cells))
]
QUOTED += [quoted for first, *_ in ROWS for quoted in re.findall(r"`([^`]+)`", first) if " " in quoted]


def texts() -> Iterator[str]:
    """The texts in the code, with a mark for each value."""
    for path in sorted((ROOT / "gandist").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[sd]|%\.\d[fg]", "\0", node.value)
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)


@cache
def all_texts() -> str:
    return "\n".join(texts())


@pytest.mark.parametrize("message", sorted({*QUOTED}))
def test_a_quoted_message_is_in_the_code(message: str) -> None:
    parts = [re.escape(part.strip()) for part in message.split("…")]
    assert re.search("[^\n]*?".join(part for part in parts if part), all_texts()), message


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 40


def test_named_fields_exist() -> None:
    named = set(re.findall(r"`([a-z]+\.[a-zA-Z_]+)(?:=[^`]*)?`", PAGE))
    assert {name for name in named if name.split(".")[0] in ("data", "model", "train", "launch", "eval", "health")} <= {
        *field_paths(),
        "model.options",
    }
