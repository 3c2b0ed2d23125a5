"""`python -m gandist.bench WHAT [CONFIG] [section.key=value ...]`: figures of this machine, and what follows from them.

Exit status: 0 done, 1 a measurement failed, 2 the configuration cannot be used (one message says why).
"""

import argparse
import sys
from importlib import import_module

from gandist.config import DEMO, load
from gandist.errors import GandistError, RunError
from gandist.logs import show_messages

COMMANDS = {"scaling": "what gradients cost to average, and what that makes of 8, 64 and 512 GPUs"}
"""Each is a module here with `options(parser)`, and `run(config, options)` that prints."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gandist bench", description="Measure, and say what follows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")
    modules = {name: import_module(f"gandist.bench.{name}") for name in COMMANDS}
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", nargs="?", default=DEMO, help="a YAML file, or a shipped one's name (demo)")
        command.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a field")
        command.add_argument("--json", action="store_true", help="print JSON")
        modules[name].options(command)
    options = parser.parse_args(argv)
    show_messages()
    name, overrides = options.config, options.overrides
    if "=" in name:
        name, overrides = DEMO, [name, *overrides]
    try:
        modules[options.command].run(load(name, overrides), options)
        return 0
    except GandistError as error:
        print(f"gandist: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except RunError as error:
        print(f"gandist: {error}", file=sys.stderr)  # noqa: T201
        return 1
