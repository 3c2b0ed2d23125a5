"""What the commands' parsers say, as plain data: `python -m gandist.completion.commands` writes `commands.json`."""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from gandist.__main__ import COMMANDS

FILE = Path(__file__).parent / "commands.json"
Said = dict[str, Any]
KEYS, CONFIGS, FOLDERS, FILES = "keys", "configs", "folders", "files"
"""What an argument takes: `section.key=value`, a configuration, a folder, a file."""
METAVARS = {"section.key=value": KEYS, "key=value": KEYS, "SWEEP": CONFIGS, "COMPARISON": CONFIGS, "RUN": FOLDERS}
WORDS = ("NAME", "CODE", "TEXT", "SECONDS")
FEW = 20
"""Most values of an argument to list."""
PARSING = ("parse_args", "parse_known_args", "parse_intermixed_args")


class _Parsed(BaseException):
    """Ends a command where it would parse its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def commands() -> dict[str, Said]:
    """What each command's parser says, by the command's name."""
    return {name: {**_said(parser_of(name)), "help": what} for name, what in COMMANDS.items()}


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser that a command makes when it starts."""
    with _stopped():
        try:
            import_module(f"gandist.{name}").main([])
        except _Parsed as found:
            return found.parser
    raise RuntimeError(f"gandist.{name} parses no arguments")


@contextmanager
def _stopped() -> Iterator[None]:
    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _Parsed(parser)

    with ExitStack() as patched:
        for name in PARSING:
            patched.enter_context(patch.object(argparse.ArgumentParser, name, stop))
        yield


def _said(parser: argparse.ArgumentParser) -> Said:
    arguments, inner = [], {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            about = {each.dest: each.help or "" for each in action._choices_actions}
            inner = {name: {**_said(each), "help": about[name]} for name, each in action.choices.items()}
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(parser, action))
    return {"arguments": arguments, **({"commands": inner} if inner else {})}


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> Said:
    said: Said = {"names": action.option_strings or [action.dest]}
    if action.nargs is not None:
        said["nargs"] = action.nargs
    if action.choices is not None and len([*action.choices]) <= FEW:
        said["choices"] = [str(choice) for choice in action.choices]
    elif action.choices is None and (takes := _takes(action)):
        said["takes"] = takes
    said["help"] = parser._get_formatter()._expand_help(action) if action.help else ""
    return said


def _takes(action: argparse.Action) -> str:
    """What the argument takes; "" for a number or a word."""
    if action.nargs == 0 or action.type not in (None, Path):
        return ""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.dest == "config":
        return CONFIGS
    return METAVARS.get(metavar) or ("" if metavar in WORDS else FILES)


def text() -> str:
    """The contents of `commands.json`."""
    return json.dumps(commands(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
