"""`python -m gandist.bench WHAT [options] [section.key=value ...]`: benchmarks of this machine, and predictions.

Exit status: 0 done, 1 a measurement failed, 2 the configuration cannot be used (one message says why).
"""

import argparse
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from gandist.bench.measure import Case, MeasurementTable, as_json
from gandist.cli.command import command
from gandist.config.run import DEMO, load
from gandist.data.dataset import with_symbols

COMMANDS = {
    "scaling": "what gradients cost to average, and what that makes of 8, 64 and 512 GPUs",
    "network": "ranks over links of limited bandwidth, against the prediction of `scaling`; root only",
    "averaging": "bucket sizes, bf16 gradients and no overlap, over links of limited bandwidth; root only",
    "step": "the step alone on static input: speed, TFLOP/s, memory, warm-up",
    "peers": "the step against a plain eager DCGAN loop, of networks of the same sizes",
    "input": "images without a step: decoding, the mapped cache, the whole pipeline",
    "e2e": "a whole run from its shards against its step on static input",
    "start": "from the command to the first step's end, of a new run and of one that goes on",
    "checkpoint": "how long a checkpoint stops training, and takes to write and to read",
}
"""Each name is a module here with `options(parser)`. `scaling` has `run(config, options)`, which prints. The others
have `measure(case, options)`, which yields records; `COLUMNS`, the columns of their table; and `DEFAULT`, the
configurations to measure by default."""
OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


@command(failure="")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist bench", description="Measure this machine, and predict the speed of many GPUs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")
    modules = {name: import_module(f"gandist.bench.{name}") for name in COMMANDS}
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        if name == "scaling":
            command.add_argument(
                "config", nargs="?", default=DEMO, help="a YAML file, or the name of a shipped one (demo)"
            )
        else:
            _shared(command, modules[name])
        command.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a field; the last wins")
        command.add_argument(
            "--json", action="store_true", help="print a JSON object per record, each on a line (scaling: one object)"
        )
        modules[name].options(command)
    words = sys.argv[1:] if argv is None else argv
    # Parsed separately: an option with several values would swallow some of these.
    overrides = [word for word in words if OVERRIDE.match(word) and not Path(word).is_file()]
    options = parser.parse_args([word for word in words if word not in overrides])
    module = modules[options.command]
    if options.command == "scaling":
        module.run(with_symbols(load(options.config, overrides)), options)
        return 0
    if options.overrides:
        parser.error(f"{options.overrides[0]}: not section.key=value; name a configuration with --config")
    table = MeasurementTable(module.COLUMNS)
    for case in list(_cases(options, overrides, module)):
        for record in module.measure(case, options):
            print(as_json(record) if options.json else table.row(record), flush=True)  # noqa: T201
    return 0


def _shared(parser: argparse.ArgumentParser, module: Any) -> None:
    """The options common to all benchmarks but `scaling`."""
    add, default = parser.add_argument, " ".join(module.DEFAULT)
    add("--config", nargs="+", metavar="FILE", help=f"YAML files, or names of shipped ones (default: {default})")
    add("--batch", nargs="+", type=int, metavar="N", help="global batches (default: the configuration's)")
    precisions, modes = ("auto", "fp32", "bf16", "fp16", "fp64"), ("auto", "graph", "eager", "compile")
    add("--precision", nargs="+", choices=precisions, help="number formats (default: the configuration's)")
    add("--mode", nargs="+", choices=modes, help="ways to run the step (default: the configuration's)")
    add("--device", choices=("auto", "cpu", "cuda"), help="device to measure (default: the configuration's)")
    seconds = getattr(module, "SECONDS", 5.0)
    add(
        "--seconds",
        type=float,
        default=seconds,
        metavar="S",
        help="about how many seconds each measurement lasts (default: %(default)g)",
    )


def _cases(options: argparse.Namespace, overrides: list[str], module: Any) -> Iterator[Case]:
    """Each configuration with each requested batch, precision and mode; all are checked first."""
    axes = product(
        options.config or module.DEFAULT, options.batch or [None], options.precision or [None], options.mode or [None]
    )
    for name, batch, precision, mode in axes:
        asked = {"train.batch": batch, "precision": precision, "step": mode, "device": options.device}
        changes = [f"{path}={value}" for path, value in asked.items() if value is not None]
        # A benchmark is one process; the configured workers may not divide the requested batch.
        yield Case(name, with_symbols(load(name, ["launch.kind=local", "launch.workers=1", *overrides, *changes])))
