"""All commands with their options, as Markdown: `python -m gandist.manual > docs/commands.md`."""

import argparse
import sys
from collections.abc import Iterator

from gandist.__main__ import COMMANDS
from gandist.completion.commands import parser_of

HEADING = """# Commands

*Made from the code by `make docs`; a test keeps it current.*

`gandist NAME` and `python -m gandist.NAME` are the same command. `--help` shows what stands here.
[README](../README.md) has examples of each.
"""


def manual() -> str:
    """Each command with its purpose, usage and options, in the order of `gandist --help`."""
    return "\n".join(
        [HEADING, *(part for name in COMMANDS for part in _described(parser_of(name), f"gandist {name}", 2))]
    )


def _described(parser: argparse.ArgumentParser, name: str, level: int) -> Iterator[str]:
    """The part of a command, then the parts of its own commands."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    yield f"{'#' * level} {name}\n"
    if parser.description:
        yield f"{_sentence(parser.description)}\n"
    yield f"```\n{' '.join([name, *_usage(actions)])}\n```\n"
    parts = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    rows = [_row(action) for action in actions if action not in parts and action.dest != "help"]
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows]) + "\n"
    for part in parts:
        for inner, its_parser in part.choices.items():
            yield from _described(its_parser, f"{name} {inner}", level + 1)


def _usage(actions: list[argparse.Action]) -> Iterator[str]:
    """Positional arguments and required options; `[options]` stands for the others."""
    for action in actions:
        if not action.option_strings:
            yield {"?": f"[{_value(action)}]", "*": f"[{_value(action)} ...]"}.get(str(action.nargs), _value(action))
        elif action.required:
            yield f"{action.option_strings[-1]} {_value(action)}"
    if any(action.option_strings and not action.required and action.dest != "help" for action in actions):
        yield "[options]"


def _row(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    shown = f"{names} {_value(action)}".strip() if action.nargs != 0 else names
    meaning = (action.help or "") % {**vars(action), "prog": ""}
    cells = f"`{shown}`", _escaped(" ".join(meaning.split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(action: argparse.Action) -> str:
    """What stands for an argument's value."""
    many = " ..." if action.nargs in ("+", "*") and action.option_strings else ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar is None and action.choices is not None:
        return "|".join(map(str, action.choices)) + many
    return (action.metavar or (action.dest.upper() if action.option_strings else action.dest)) + many


def _sentence(text: str) -> str:
    """The text as a sentence."""
    words = _escaped(" ".join(text.split()))
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?")) else ".")


def _escaped(text: str) -> str:
    """Text in which Markdown reads nothing but `code`."""
    parts = text.split("`")
    return "`".join(
        part if i % 2 else part.replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")
        for i, part in enumerate(parts)
    )


if __name__ == "__main__":
    sys.stdout.write(manual())
