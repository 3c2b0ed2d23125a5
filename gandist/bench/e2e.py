"""A whole run from its shards, in turn with its step on static input: the cost of everything but the step.

The run is `gandist.train`'s own loop in this process, with rows, checkpoints, sample grids and telemetry as
configured, in a temporary `run.dir`, and without evaluations. The start, up to and including the first tick, does not
count: speed is the number of images between the first and the last row over the time between them. A run lasts at least
two further ticks, so a configuration with long ticks takes longer than `--seconds`.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator

import numpy as np

from gandist.bench.measure import Case, Measurement, block, changed, use_threads
from gandist.bench.static import Static
from gandist.config.run import DEMO, RunConfig
from gandist.config.schedule import images_of
from gandist.distributed.consensus import Host
from gandist.distributed.ranks import join
from gandist.errors import RunError
from gandist.launch.resumption import prepare
from gandist.run.progress import METRICS_FILE, decode
from gandist.training.worker import train

DEFAULT = (DEMO,)
SECONDS = 20.0
ROUNDS = 3
COLUMNS = (
    *("config", "batch", "precision", "mode", "device", "threads", "img_per_s", "static_img_per_s", "ratio"),
    *("data_wait_share", "checkpoint_stall_share", "rows", "checkpoints", "grids"),
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", metavar="DIR", help="folder for the runs, deleted afterwards (default: the system's temporary folder)"
    )


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """One record over ROUNDS runs, each between two blocks of static steps."""
    threads = use_threads(case.config)
    config, ranks = changed(case.config, {"launch.threads": threads, "eval.every_kimg": None}), join(case.config.device)
    world = Static(config, ranks)
    warmup_s = world.warm_up()
    step = block(world, ranks.device)
    steps = world.period * max(1, round(options.seconds / ROUNDS / step(world.period)))
    images = _length(config, options.seconds / ROUNDS * world.images * steps / step(steps))
    rates: list[float] = []
    static: list[float] = []
    rows: list[list[Measurement]] = []
    with tempfile.TemporaryDirectory(prefix="gandist-bench-", dir=options.dir) as folder:
        for number in range(ROUNDS):
            static.append(world.images * steps / step(steps))
            rows.append(run(changed(config, {"run.dir": folder, "run.name": f"e2e-{number}"}), images))
            rates.append(speed(rows[-1]))
        static.append(world.images * steps / step(steps))
    rate, still = float(np.median(rates)), float(np.median(static))
    counted = [row for each in rows for row in each[1:]]
    spent_s = sum(row["tick_s"] for row in counted)
    yield case.record(
        "e2e",
        **world.facts,
        img_per_s=rate,
        warmup_s=warmup_s,
        ratio=rate / still,
        static_img_per_s=still,
        data_wait_share=sum(row["data_wait_s"] for row in counted) / spent_s,
        checkpoint_stall_share=sum(row["checkpoint_stall_s"] for row in counted) / spent_s,
        rows=len(counted),
        checkpoints=sum(events(each, config.train.checkpoint_kimg, world.images) for each in rows),
        grids=sum(events(each, config.train.sample_kimg, world.images) for each in rows),
        threads=threads,
    )


def _length(config: RunConfig, images: float) -> int:
    """The length of a run: about `images` images plus the first tick, in whole ticks, at least three."""
    tick = images_of(config.train.tick_kimg)
    return tick * (1 + max(2, math.ceil(images / tick)))


def run(config: RunConfig, images: int) -> list[Measurement]:
    """Train for `images` images; return the rows.

    Raises:
        RunError: the run did not finish, or wrote too few rows.
    """
    config = changed(config, {"train.total_kimg": images / 1000})
    checkpoints = prepare(config, "never")
    outcome = train(config, checkpoints, Host())
    rows: list[Measurement] = decode(checkpoints.storage.read_bytes(METRICS_FILE) or b"")
    if outcome.status != "done" or len(rows) < 3:
        raise RunError(f"bench: the run ended {outcome.status} with {len(rows)} rows: {outcome.message}")
    return rows


def speed(rows: list[Measurement]) -> float:
    """Images per second between the first row and the last."""
    return float((rows[-1]["images_seen"] - rows[0]["images_seen"]) / (rows[-1]["time_s"] - rows[0]["time_s"]))


def events(rows: list[Measurement], every_kimg: float, images: int) -> int:
    """The number of events with interval `every_kimg` between the first row and the last.

    An event follows the row of the step, of `images` images, that reached it: the event of the last row comes too late.
    """
    first, last = ((row["images_seen"] - images) // images_of(every_kimg) for row in (rows[0], rows[-1]))
    return int(last - first)
