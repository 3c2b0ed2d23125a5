"""`python -m gandist.tune SWEEP.yaml [key=value ...]`: search learning rates, losses, any field.

Each trial is an ordinary run. The same command resumes an interrupted sweep. It writes `sweeps/NAME/trials.parquet`,
`best.yaml` and `report.html`. Exit status: 0 done, 1 every trial failed, or the sweep did, 2 the sweep file,
configuration or data cannot be used (one message says why), 143 stopped by a signal.
"""

import argparse

from gandist.cli.command import command


@command(failure="the sweep failed: ")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist tune",
        description="Search configuration fields with Ray Tune. The same command goes on with a sweep that was "
        "interrupted.",
        epilog="Example: gandist tune configs/sweep-losses.yaml trials=8 train.total_kimg=10",
    )
    add = parser.add_argument
    add("sweep", metavar="SWEEP", help="a YAML file, or the name of a shipped one (sweep-losses)")
    add(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="replace a key of the sweep file, or a configuration field in every trial; the last wins",
    )
    add(
        "--resume",
        choices=["auto", "never", "must"],
        default="auto",
        help="auto: resume the sweep if it has begun; never: keep the old one under another name and begin anew; must: "
        "fail if it has not begun (default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="check everything, print the trials, and start nothing")
    options = parser.parse_intermixed_args(argv)
    from gandist.tune.drive import drive, show  # importing Ray takes seconds; usage messages do without it
    from gandist.tune.sweep import read

    plan = read(options.sweep, options.overrides)
    if options.dry_run:
        show(plan)
        return 0
    return drive(plan, options.resume)
