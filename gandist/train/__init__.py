"""`python -m gandist.train [CONFIG] [section.key=value ...]`: train or resume the run of a configuration.

Without CONFIG it trains the demo. Exit status: 0 done, 1 the run failed, 2 configuration or data cannot be used
(one message says why), 143 stopped by a signal after a last checkpoint, 130 interrupted by Ctrl-C: before training by
the first, during training by the second.
"""

import argparse
import logging
import os

from gandist.cli.arguments import positive
from gandist.cli.command import command
from gandist.cli.interrupts import importing
from gandist.cli.logs import show_messages
from gandist.cli.text import command_lines
from gandist.config.run import DEMO, load

log = logging.getLogger("gandist")

PROFILED = 10
"""Steps of a profile."""


@command(failure="the run failed: ")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist train",
        description="Train a GAN. The same command resumes an interrupted run.",
        epilog="Examples: gandist train; gandist train configs/dcgan-fashion.yaml train.batch=256 run.name=big",
    )
    parser.add_argument("config", nargs="?", default=DEMO, help="a YAML file, or the name of a shipped one (demo)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a field; the last wins")
    parser.add_argument(
        "--resume",
        choices=["auto", "never", "must"],
        default="auto",
        help="auto: resume the run if it has a checkpoint; never: keep the old run under another name and start anew; "
        "must: fail without a checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="RUN[@IMAGES_SEEN]",
        help="start with the players of another run's checkpoint (the newest, or the one at this number of images), or "
        "with those of a published model: its folder, or hf://OWNER/NAME[@REVISION] on the Hugging Face Hub",
    )
    parser.add_argument(
        "--profile",
        type=positive,
        nargs="?",
        const=PROFILED,
        default=0,
        metavar="STEPS",
        help=f"write a trace of some steps after the first to profile/ in the run's folder (default: {PROFILED})",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would run, and start nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="show whole rows, and everything that Ray prints")
    options = parser.parse_intermixed_args(argv)
    show_messages(options.verbose)
    config_name, overrides = options.config, options.overrides
    if "=" in config_name:
        config_name, overrides = DEMO, [config_name, *overrides]
    with importing():  # torch, once the fields have been checked that need no network
        config = load(config_name, overrides)
        from gandist.data.dataset import with_symbols
        from gandist.train import course

    config = with_symbols(config)
    if options.dry_run:
        course.show(config)
        return 0
    # Before the run: Ray may delete the job's working directory during the job, and relative paths depend on it.
    steps = list(course.next_steps(config_name, overrides, config))
    status = course.run(config, options.resume, options.source, options.profile)
    if status == 0 and not int(os.environ.get("RANK", "0")):
        log.info("%s", "\n  ".join(["next:", *map(command_lines, steps)]))
    return status
