"""A checkpoint: the time training stops for it, the time of writing beside training, and the time of reading."""

import argparse
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from gandist.bench.measure import Case, Measurement, block, synchronise, use_threads
from gandist.bench.static import Static
from gandist.config.methods import new_players
from gandist.config.run import DEMO
from gandist.distributed.ranks import join
from gandist.run.checkpoint import Writer, Written, names, read
from gandist.storage.storage import Storage

DEFAULT = (DEMO,)
COLUMNS = (
    *("config", "device", "threads", "mib", "ms_per_step", "stall_ms", "ratio"),
    *("write_s", "mb_per_s", "busy_ms_per_step", "load_s"),
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", metavar="DIR", help="folder to write to (default: the system's temporary folder)")
    parser.add_argument(
        "--checkpoints", type=int, default=5, metavar="N", help="checkpoints to write (default: %(default)s)"
    )


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """One record: medians over the checkpoints of the step, the stall, the writing and the reading.

    `ratio` is stall / step. Steps between checkpoints are timed without writing; those during writing as
    `busy_ms_per_step`.
    """
    threads, ranks = use_threads(case.config), join(case.config.device)
    world = Static(case.config, ranks)
    warmup_s = world.warm_up()
    written: list[Written] = []
    step = block(world, ranks.device)
    steps_s: list[float] = []
    stalls_s: list[float] = []
    busy_s: list[float] = []
    loads_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gandist-bench-", dir=options.dir) as folder:
        storage = Storage(folder)
        writer = Writer(storage, {}, keep=2, written=written.append)
        n = world.period * max(1, round(options.seconds / options.checkpoints / step(world.period)))
        for number in range(options.checkpoints):
            steps_s.append(step(n) / n)
            synchronise(ranks.device)  # earlier work on the GPU is not part of the stall
            stalls_s.append(writer.save(world.players))
            while len(written) <= number:
                writer.check()  # otherwise a failed write would be awaited forever
                busy_s.append(step(world.period) / world.period)
            writer.wait()
            players = new_players(case.config, ranks.device)  # as at a start; the training ones may be captured
            synchronise(ranks.device)
            start = time.perf_counter()
            read(storage, names(storage)[-1]).restore(players)
            synchronise(ranks.device)
            loads_s.append(time.perf_counter() - start)
        writer.close()
    step_s, stall_s = float(np.median(steps_s)), float(np.median(stalls_s))
    write_s = float(np.median([each.write_s for each in written]))
    yield case.record(
        "checkpoint",
        **world.facts,
        img_per_s=world.images / step_s,
        ms_per_step=1e3 * step_s,
        warmup_s=warmup_s,
        ratio=stall_s / step_s,
        stall_ms=1e3 * stall_s,
        write_s=write_s,
        mb_per_s=written[-1].bytes / 1e6 / write_s,
        mib=written[-1].bytes / 2**20,
        busy_ms_per_step=1e3 * float(np.median(busy_s)) if busy_s else None,
        load_s=float(np.median(loads_s)),
        threads=threads,
    )
