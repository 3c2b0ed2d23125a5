"""`python -m gandist.evaluate RUN`: measure the generator of a run against real samples.

Each value is shown with its protocol: values are comparable only for the same extractor and number of samples.
"""

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gandist.cli.arguments import natural, positive, which
from gandist.cli.command import command
from gandist.cli.text import text_table
from gandist.distributed.ranks import Ranks, pick_device
from gandist.errors import CheckpointError, ConfigError
from gandist.evaluation.evaluation import N_MIN, Yardstick, yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.evaluation.extractors import EXTRACTORS
from gandist.report.measured import group_tables
from gandist.run import checkpoint, evaluations
from gandist.run.evaluations import Result
from gandist.run.published import TRUST
from gandist.run.trained import Trained, open_run, open_trained

log = logging.getLogger("gandist")


def checkpoints(
    run: str, device: torch.device, images_seen: int | str | None, every: bool, trust: bool = False
) -> Iterator[Trained]:
    """The requested generators: of the newest checkpoint, of a given one, or of each sound checkpoint in turn; of a
    published model the only one.

    Raises:
        GandistError: the run or the checkpoint does not exist.
    """
    first = open_trained(run, device, images_seen, trust)
    names = checkpoint.names(open_run(run)) if every else []
    if not names:
        yield first
        return
    for name in names:
        try:
            yield open_trained(run, device, int(name))
        except CheckpointError as error:
            log.warning("%s; left out", error)


def temperatures(said: str) -> tuple[float, ...]:
    """The temperatures of "0.5,1".

    Raises:
        ValueError: one is no positive number.
    """
    found = tuple(map(float, said.split(",")))
    if not all(0 < each < math.inf for each in found):
        raise ValueError(said)
    return found


def at_each(trained: Trained, wanted: tuple[float, ...]) -> Iterator[tuple[Trained, dict[str, Any]]]:
    """The generator at each temperature, and what the protocol says of that; as it is if none is wanted (Caccia et al.
    2018, arXiv:1811.02549, compare generators of texts by such curves of quality and variety).

    Raises:
        ConfigError: G has no temperature.
    """
    if not wanted:
        yield trained, {}
    for temperature in wanted:
        yield trained.at(temperature), {"temperature": temperature}


def shown(result: Result) -> str:
    """A line per measure, tables of groups, then the protocol."""
    measures = text_table([(name, f"{value:.6g}") for name, value in result.measures.items()])
    protocol = ", ".join(f"{name} {value}" for name, value in result.protocol.items())
    floors = [
        f"{name}: {', '.join(f'{key} {value:.6g}' for key, value in floor.items())}"
        for name, floor in result.baselines.items()
    ]
    groups = [text_table(each.lines) for each in group_tables(result.plain())]
    return "\n".join([f"at {result.images_seen} images seen", measures, *floors, *groups, protocol])


def as_json(result: Result) -> str:
    """One line: the measures by name, then `images_seen` and `protocol`; `baselines` has those of ways that need no
    learning, `baseline` those of the best such way; `by_mask` and the like have the measures within groups."""
    plain = result.plain()
    if baselines := plain.get("baselines"):
        name, measures = next(iter(baselines.items()))
        plain["baseline"] = {"name": name, **measures}
    return json.dumps({**plain.pop("measures"), **plain})


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the run or the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        prog="gandist evaluate", description="Measure the generator of a run against real samples."
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run, or of a published model (hf://OWNER/NAME[@REVISION])")
    add("--n", type=positive, default=10_000, metavar="N", help="samples to draw and measure (default: %(default)s)")
    names = "; ".join(f"for {kind.__name__.lower()}: {', '.join(kinds)}" for kind, kinds in EXTRACTORS.items())
    add("--extractor", metavar="NAME", help=f"{names} (default: as in the run's own evaluations)")
    add("--weights", type=Path, metavar="FILE", help="file of the extractor's weights: TorchScript, or a classifier")
    add("--data", metavar="PATH", help="real samples to compare with (default: those that the run was trained on)")
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--images-seen", type=which, metavar="N", help="measure this checkpoint, or `best` (default: the newest)"
    )
    one.add_argument("--all", action="store_true", help="measure every checkpoint in turn")
    said = "for a G that draws symbols: measure it at each of these; at a lower one texts are likelier and vary less"
    add("--temperatures", type=temperatures, default=(), metavar="T,...", help=f"{said} (default: 1)")
    add("--keep", action="store_true", help="with --temperatures: keep the measures in the run, for its report")
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto uses a GPU if there is one (default: auto)",
    )
    add("--trust", action="store_true", help=TRUST)
    add("--seed", type=natural, default=0, metavar="S", help="seed of the samples (default: %(default)s)")
    add("--json", action="store_true", help="print a JSON object per checkpoint, each on a line")
    options = parser.parse_args(argv)
    show = as_json if options.json else shown
    if options.n < N_MIN:
        raise ConfigError(f"--n {options.n}: measures need at least {N_MIN}")
    if options.keep and (options.all or not options.temperatures):
        raise ConfigError(
            "--keep: needs --temperatures, and keeps the measures of one checkpoint; give them, and leave out --all"
        )
    device = pick_device(options.device)
    results: list[Result] = []
    against: Yardstick | None = None
    for trained in checkpoints(options.run, device, options.images_seen, options.all, options.trust):
        if against is None:
            ranks = Ranks(0, 1, device)
            extractor = extractor_of(trained.config, device, options.weights, options.extractor)
            against = yardstick(trained.config, extractor, ranks, options.data)
        for at, told in at_each(trained, options.temperatures):
            result = against.evaluate(at, options.n, options.seed)
            results.append(result._replace(protocol=told | result.protocol))
            print(show(results[-1]), flush=True)  # noqa: T201
    if options.keep:
        evaluations.keep_temperatures(open_run(options.run), results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
