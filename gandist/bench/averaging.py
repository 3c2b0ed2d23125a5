"""How long a step takes by how its gradients are averaged, on two ranks over links of limited bandwidth; root only.

Variants take turns within one process for each rank. `never`: no gradients are sent; `at the end`: in one all-reduce
after the backward pass, with nothing to overlap; otherwise DDP sends each bucket as soon as it is ready.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from gandist.bench.links import limited_links
from gandist.bench.measure import Case, Measurement, block, changed
from gandist.bench.ranks import Watched, on_ranks
from gandist.config.run import RunConfig
from gandist.distributed.ranks import join

COLUMNS = ("config", "batch", "what", "ranks", "mbit", "buckets", "megabytes", "ms_per_step", "ratio")
DEFAULT = ("demo",)
BUCKETS_MIB = (1.0, 5.0, 25.0, 100.0)
USUAL = "usual"


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--mbit", type=float, default=400.0, help="megabits/s that each rank can send (default: %(default)g)")
    add("--ranks", type=int, default=2, help="(default: %(default)s)")
    add("--steps", type=int, default=7, help="steps for a median (default: %(default)s)")
    add("--buckets", type=float, nargs="+", default=list(BUCKETS_MIB), metavar="MIB", help="(default: 1 5 25 100)")


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """`ratio` is to the step with DDP's own buckets and gradients in full; each rank has the configured batch.

    Raises:
        ConfigError: this is not root, or there are no network namespaces.
        RunError: a rank failed.
    """
    batch = case.config.train.batch * options.ranks
    config = changed(case.config, {"device": "cpu", "launch.threads": 1, "train.batch": batch})
    with limited_links(options.ranks, options.mbit) as links:
        found = on_ranks(_measure, config, options.ranks, (options.buckets, options.steps), links)
    for what, (seconds, buckets, bytes) in found.items():
        values = {
            "what": what,
            "ranks": options.ranks,
            "mbit": options.mbit,
            "buckets": buckets,
            "megabytes": bytes / 1e6,
            "ms_per_step": seconds * 1e3,
            "ratio": seconds / found[USUAL][0],
            "mode": "eager",
            "device": "cpu",
        }
        yield case.record("averaging", **values)


def _measure(config: RunConfig, buckets_mib: list[float], steps: int) -> dict[str, Any]:
    """Of each variant: seconds of a step on the slowest rank, buckets, and bytes sent."""
    ranks = join("cpu")
    variants = {
        USUAL: (None, Watched()),
        **{f"{size:g} MiB": (size, Watched()) for size in buckets_mib},
        "at the end": (None, Watched(sends="at the end")),
        "bf16": (None, Watched(bf16=True)),
        "bf16, at the end": (None, Watched(bf16=True, sends="at the end")),
        "never": (None, Watched(sends="never")),
    }
    calls = {}
    for name, (size, watched) in variants.items():
        world = watched.step_of(changed(config, {"launch.bucket_mib": size}), ranks)
        calls[name] = block(world.eager, ranks.device)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(2 + steps):
        for name, step in calls.items():
            variants[name][1].buckets.clear()
            ranks.gather(None)
            times[name].append(step(1))
    found = {}
    for name, (_, watched) in variants.items():
        seconds = max(ranks.gather(float(np.median(times[name][2:]))))
        found[name] = (seconds, len(watched.buckets), 0 if watched.sends == "never" else watched.bytes)
    return found
