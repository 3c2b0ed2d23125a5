"""Every command of gandist on every page of the documentation is one that its parser, and a run's checks, accept."""

import re
import shlex
from collections.abc import Iterator

import pytest

from gandist.__main__ import COMMANDS
from gandist.completion.commands import parser_of
from gandist.config.run import load
from tests.helpers.checkout_copy import ROOT

COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:python -m gandist\.|gandist )([a-z]+) (.*)$")
VARIABLE = re.compile(r"^([A-Z]+)=(['\"])(.*)\2$", re.MULTILINE)
OF_PARSERS = "commands.md"
"""Made from the parsers: usages, not commands."""
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.name != OF_PARSERS)]


def commands_on(page: str) -> Iterator[tuple[str, list[str]]]:
    """Names and arguments of the commands in a page's blocks of code, whatever their language; a block's own variables
    are filled in, and what a command is piped to is left out."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        variables = {f"${name}": value for name, _, value in VARIABLE.findall(block)}
        for line in block.replace("\\\n", " ").splitlines():
            if (match := COMMAND.match(re.split(r" [#|] ", line)[0])) and match[1] in COMMANDS:
                yield match[1], [variables.get(word, word) for word in shlex.split(match[2])]


WRITTEN = [
    pytest.param(name, arguments, id=f"{page}-{name}-{number}")
    for page in PAGES
    for number, (name, arguments) in enumerate(commands_on(page))
]


@pytest.mark.parametrize(("name", "arguments"), WRITTEN)
def test_it_is_accepted(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = parser_of(name).parse_args(arguments)
    if name == "train" and (ROOT / options.config).is_file():
        load(options.config, options.overrides)


def test_there_are_many() -> None:
    assert len(WRITTEN) > 100
