"""The page of the commands is made from their parsers, and current."""

from gandist.__main__ import COMMANDS
from gandist.completion.commands import parser_of
from gandist.manual import manual
from tests.helpers.checkout_copy import ROOT


def test_is_current() -> None:
    assert (ROOT / "docs/commands.md").read_text() == manual(), "run `make docs`"


def test_has_every_command_and_every_option_of_it() -> None:
    text = manual()
    for name in COMMANDS:
        part = text.partition(f"\n## gandist {name}\n")[2].partition("\n## ")[0]
        options = {option for option in parser_of(name)._option_string_actions if option not in ("-h", "--help")}
        assert options == {option for option in options if f"{option}" in part}, name
