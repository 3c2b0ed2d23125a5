"""`python -m gandist.report RUN [RUN ...]`: one HTML page of a run, or of several side by side.

The page contains everything it shows, and makes no network requests.
"""

import argparse
from pathlib import Path

from gandist.cli.command import command
from gandist.errors import ConfigError
from gandist.report.page import page
from gandist.run.trained import open_run
from gandist.storage.remote import is_remote

FILE = "report.html"


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the runs cannot be read or the page cannot be written."""
    parser = argparse.ArgumentParser(
        prog="gandist report", description="Write one HTML page of a run, or of several side by side."
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="folder or address of a run; several are shown side by side")
    add("--out", metavar="FILE", help=f"local file to write (default: {FILE} in the first run)")
    add(
        "--neighbours",
        action=argparse.BooleanOptionalAction,
        help="find the training samples nearest to generated ones, among up to 20,000 (default: only if the set is "
        "local and, at 64 px, has no more)",
    )
    options = parser.parse_args(argv)
    if options.out and is_remote(options.out):
        raise ConfigError(f"--out {options.out}: give a local file, or nothing for {FILE} in the run")
    html = page(options.runs, options.neighbours).encode()
    if options.out:
        out = options.out
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_bytes(html)
    else:
        storage = open_run(options.runs[0])
        storage.write_bytes(FILE, html)
        out = storage.uri(FILE)
    print(f"{out}: {len(html) / 1e6:.1f} MB")  # noqa: T201
    return 0
