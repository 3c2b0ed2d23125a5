"""`python -m gandist.doctor [CONFIG] [section.key=value ...]`: look at this machine, and say what would stop a run.

A line for each thing: `ok`, `note` (a run works, but not as well or as quietly as it might) or `wrong`, what was found,
and how to mend it. It contacts no other machine. Exit status: 1 if something is wrong.
"""

import argparse
import json

from gandist.cli.command import command
from gandist.cli.text import text_table
from gandist.config.run import DEMO
from gandist.doctor.checks import examine, settings
from gandist.doctor.finding import Finding


def shown(found: list[Finding]) -> str:
    """A line for each finding, with its fix at the end."""
    return text_table(
        [(each.state, each.what, f"{each.says}; {each.fix}" if each.fix else each.says) for each in found]
    )


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 1 if something is wrong, 2 after one message if the configuration cannot be read."""
    parser = argparse.ArgumentParser(
        prog="gandist doctor", description="Look at this machine, and say what would stop a run, and what to do."
    )
    parser.add_argument("config", nargs="?", default=DEMO, help="a YAML file, or the name of a shipped one (demo)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a field; the last wins")
    parser.add_argument("--json", action="store_true", help="print a JSON object per finding, each on a line")
    options = parser.parse_intermixed_args(argv)
    config, overrides = options.config, options.overrides
    if "=" in config:
        config, overrides = DEMO, [config, *overrides]
    found = examine(settings(config, overrides))
    print("\n".join(json.dumps(each._asdict()) for each in found) if options.json else shown(found))  # noqa: T201
    return 1 if any(each.state == "wrong" for each in found) else 0
