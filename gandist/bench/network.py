"""Ranks over links of limited bandwidth, each in a network namespace, against the prediction of `scaling`; root only.

Measured on each number of ranks: the all-reduce of one number; those of a step's buckets alone; a step that sleeps as
long as one rank computes and really sends; and, on no more ranks than cores, whole steps. Predicted: `Machine`'s ring
of the links' bandwidth and measured latency, on the recorded times at which one rank's buckets are ready.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gandist.bench.links import limited_links, payload
from gandist.bench.measure import Case, Measurement, block, changed
from gandist.bench.ranks import on_ranks
from gandist.bench.scaling import Machine
from gandist.bench.static import Static
from gandist.bench.timeline import Timeline, half_round_trip, play, record, send
from gandist.config.run import RunConfig
from gandist.distributed.ranks import join

COLUMNS = ("config", "batch", "what", "ranks", "mbit", "ms_per_step", "predicted_ms", "ratio", "efficiency")
DEFAULT = ("demo",)
NUMBER = Timeline(0.0, [[(0.0, 4)]])
"""One float32: what messages cost that carry next to nothing."""


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--mbit",
        type=float,
        default=100.0,
        metavar="M",
        help="bandwidth of each link in megabits/s (default: %(default)g)",
    )
    add("--ranks", type=int, nargs="+", default=[2, 4, 8], metavar="N", help="numbers of ranks (default: 2 4 8)")
    add("--steps", type=int, default=7, metavar="N", help="steps for a median (default: %(default)s)")


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """`ratio` is measured over predicted time; each rank has the configured batch to itself.

    Raises:
        ConfigError: this is not root, or there are no network namespaces.
        RunError: a rank failed.
    """
    config = changed(case.config, {"device": "cpu", "launch.threads": 1})
    with limited_links(1, options.mbit) as links:
        timeline = Timeline(**on_ranks(record, config, 1, (options.steps,), links))
    yield _record(case, options, "whole", 1, timeline.step_s, timeline.step_s, timeline)
    for ranks in options.ranks:
        shared = changed(config, {"train.batch": config.train.batch * ranks})
        whole = ranks <= (os.cpu_count() or 1)
        with limited_links(ranks, options.mbit) as links:
            given = (timeline.step_s, timeline.updates, options.steps, whole)
            measured = on_ranks(_measure, shared, ranks, given, links)
        machine = Machine(node=1, between=payload(options.mbit), between_s=measured.pop("latency"))

        def ring(bytes: int, machine: Machine = machine, ranks: int = ranks) -> float:
            return machine.communication_s(ranks, bytes, 1)

        step_s = timeline.step_with(ring)
        for what, seconds in measured.items():
            predicted = {"number": ring(4), "all-reduce": sum(map(ring, timeline.sizes))}.get(what, step_s)
            latency = {"latency_us": machine.between_s * 1e6}
            yield _record(case, options, what, ranks, seconds, predicted, timeline) | latency


def _record(
    case: Case, options: argparse.Namespace, what: str, ranks: int, seconds: float, predicted: float, timeline: Timeline
) -> Measurement:
    values = {
        "what": what,
        "ranks": ranks,
        "mbit": options.mbit,
        "ms_per_step": seconds * 1e3,
        "predicted_ms": predicted * 1e3,
        "ratio": seconds / predicted,
        "efficiency": timeline.step_s / seconds if what in ("slept", "whole") else None,
        "bytes": sum(timeline.sizes),
        "buckets": len(timeline.sizes),
        "overlap": timeline.overlap,
        "mode": "eager",
        "device": "cpu",
    }
    return case.record("network", **values)


def _measure(
    config: RunConfig, step_s: float, updates: list[list[tuple[float, int]]], steps: int, whole: bool
) -> dict[str, float]:
    """Seconds of each kind of step on the slowest rank, and the latency of a message."""
    ranks, timeline = join("cpu"), Timeline(step_s, updates)
    kinds: dict[str, Callable[[], float]] = {
        "number": lambda: send(NUMBER, ranks),
        "all-reduce": lambda: send(timeline, ranks),
        "slept": lambda: play(timeline, ranks),
    }
    if whole:
        step = block(Static(config, ranks).eager, ranks.device)
        kinds["whole"] = lambda: step(1)
    found: dict[str, Any] = {"latency": half_round_trip(ranks)}
    for what, seconds in kinds.items():
        times = []
        for _ in range(2 + steps):
            ranks.gather(None)
            times.append(seconds())
        found[what] = max(ranks.gather(float(np.median(times[2:]))))
    return found
