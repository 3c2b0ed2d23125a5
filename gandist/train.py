"""`python -m gandist.train [CONFIG] [section.key=value ...]`: train, or go on with, the run that a configuration names.

Without CONFIG it trains the demo. Exit status: 0 done, 1 the run failed, 2 configuration or data cannot be used
(one message says why), 143 stopped by a signal after a last checkpoint.
"""

import argparse
import logging
import os
import sys

import yaml

from gandist import checks
from gandist.config import DEMO, RunConfig, load
from gandist.errors import GandistError, RunError
from gandist.launch import launch
from gandist.logs import show_messages
from gandist.resumption import Resume, prepare, run_root
from gandist.storage import Storage
from gandist.summary import describe

log = logging.getLogger("gandist")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist train",
        description="Train a GAN. The same command goes on with a run that was interrupted.",
        epilog="Examples: gandist train; gandist train configs/dcgan-fashion.yaml train.batch=256 run.name=big",
    )
    parser.add_argument("config", nargs="?", default=DEMO, help="a YAML file, or the name of a shipped one (demo)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a field; the last wins")
    parser.add_argument("--resume", choices=["auto", "never", "must"], default="auto", help="(default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print what would run, and start nothing")
    options = parser.parse_intermixed_args(argv)
    show_messages()
    config_name, overrides = options.config, options.overrides
    if "=" in config_name:
        config_name, overrides = DEMO, [config_name, *overrides]
    try:
        config = load(config_name, overrides)
        if options.dry_run:
            print(yaml.safe_dump(config.resolved(), sort_keys=False))  # noqa: T201
            print(describe(config))  # noqa: T201
            for warning in checks.warnings(config):
                log.warning(warning)
            return 0
        return run(config, options.resume)
    except GandistError as error:
        print(f"gandist: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except (RunError, OSError) as error:
        print(f"gandist: the run failed: {error}", file=sys.stderr)  # noqa: T201
        return 1


def run(config: RunConfig, resume: Resume) -> int:
    """Validate what can be validated here, start the ranks, and wait; the exit status."""
    leads = int(os.environ.get("RANK", "0")) == 0
    storage = prepare(config, resume) if leads else Storage(run_root(config))
    for warning in checks.warnings(config) if leads else ():
        log.warning(warning)
    outcome = launch(config, storage)
    if outcome.message:
        raise (GandistError if outcome.status == "refused" else RunError)(outcome.message)
    if leads:
        log.info(
            "%s run=%s images_seen=%d\n  pictures    %s\n  metrics     %s\n  checkpoints %s",
            outcome.status,
            config.run.name,
            outcome.images_seen,
            storage.uri("samples"),
            storage.uri("metrics.jsonl"),
            storage.uri("checkpoints"),
        )
    return 143 if outcome.status == "stopped" else 0


if __name__ == "__main__":
    sys.exit(main())
