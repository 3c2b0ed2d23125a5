"""How long a step takes by how its gradients are averaged, on ranks over links of limited bandwidth; root only.

Two steps for each variant. `slept`: the ranks sleep as long as one alone computes, and really send; as on devices that
compute while their host sends. `whole`: they compute as well, on the cores that send. Variants take turns.
`at the end`: one all-reduce after each backward pass, with nothing to overlap; otherwise DDP sends each bucket as soon
as it is ready. `never`: nothing is sent.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from gandist.bench.links import limited_links
from gandist.bench.measure import Case, Measurement, block, changed
from gandist.bench.ranks import Watched, on_ranks
from gandist.bench.timeline import Timeline, play, record
from gandist.config.run import RunConfig
from gandist.distributed.ranks import Ranks, join

COLUMNS = (
    *("config", "batch", "what", "ranks", "mbit", "buckets", "megabytes"),
    *("slept_ms", "slept_ratio", "ms_per_step", "ratio"),
)
DEFAULT = ("demo",)
USUAL = "usual"


@dataclass(frozen=True)
class Variant:
    """A way of averaging."""

    bucket_mib: float | None = None
    gradients: Literal["full", "bf16"] = "full"
    sends: Literal["at once", "at the end", "never"] = "at once"

    def applied(self, config: RunConfig) -> RunConfig:
        return changed(config, {"launch.bucket_mib": self.bucket_mib, "optim.gradients": self.gradients})


def variants(buckets_mib: list[float]) -> dict[str, Variant]:
    return {
        USUAL: Variant(),
        **{f"{size:g} MiB": Variant(size) for size in buckets_mib},
        "at the end": Variant(sends="at the end"),
        "bf16": Variant(gradients="bf16"),
        "bf16, at the end": Variant(gradients="bf16", sends="at the end"),
        "never": Variant(sends="never"),
    }


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--mbit",
        type=float,
        default=400.0,
        metavar="M",
        help="bandwidth of each link in megabits/s (default: %(default)g)",
    )
    add("--ranks", type=int, default=2, metavar="N", help="number of ranks (default: %(default)s)")
    add("--steps", type=int, default=7, metavar="N", help="steps for a median (default: %(default)s)")
    sizes = [1.0, 5.0, 25.0, 100.0]
    add(
        "--buckets",
        type=float,
        nargs="+",
        default=sizes,
        metavar="MIB",
        help="bucket sizes in MiB (default: 1 5 25 100)",
    )


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """Ratios are to the step with DDP's own buckets and gradients in full; each rank has the configured batch.

    Raises:
        ConfigError: this is not root, or there are no network namespaces.
        RunError: a rank failed.
    """
    config = changed(case.config, {"device": "cpu", "launch.threads": 1})
    shared = changed(config, {"train.batch": config.train.batch * options.ranks})
    with limited_links(1, options.mbit) as links:
        recorded = on_ranks(_timelines, config, 1, (options.buckets, options.steps), links)
    with limited_links(options.ranks, options.mbit) as links:
        found = on_ranks(_measure, shared, options.ranks, (options.buckets, options.steps, recorded), links)
    for what, (slept_s, whole_s) in found.items():
        timeline = Timeline(**recorded[what])
        values = {
            "what": what,
            "ranks": options.ranks,
            "mbit": options.mbit,
            "buckets": len(timeline.sizes),
            "megabytes": sum(timeline.sizes) / 1e6,
            "slept_ms": slept_s * 1e3,
            "slept_ratio": slept_s / found[USUAL][0],
            "ms_per_step": whole_s * 1e3,
            "ratio": whole_s / found[USUAL][1],
            "mode": "eager",
            "device": "cpu",
        }
        yield case.record("averaging", **values)


def _timelines(config: RunConfig, buckets_mib: list[float], steps: int) -> dict[str, Any]:
    """A timeline for each variant, all as long as the usual one."""
    found: dict[str, Timeline] = {}
    for name, variant in variants(buckets_mib).items():
        timeline = Timeline(**record(variant.applied(config), steps))
        timeline = timeline.as_long_as(found.get(USUAL, timeline))
        if variant.sends == "at the end":
            timeline = timeline.without_overlap()
        found[name] = timeline if variant.sends != "never" else Timeline(timeline.step_s, [])
    return {name: asdict(timeline) for name, timeline in found.items()}


def _measure(
    config: RunConfig, buckets_mib: list[float], steps: int, recorded: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """Seconds of a slept and of a whole step for each variant."""
    ranks, slept, whole = join("cpu"), {}, {}
    for name, variant in variants(buckets_mib).items():
        timeline = Timeline(**recorded[name])
        slept[name] = lambda timeline=timeline: play(timeline, ranks)
        watched = Watched(variant.gradients == "bf16", variant.sends)
        step = block(watched.step_of(variant.applied(config), ranks).eager, ranks.device)
        whole[name] = lambda step=step: step(1)
    slept_s, whole_s = (_in_turn(ranks, kind, steps) for kind in (slept, whole))
    return {name: (slept_s[name], whole_s[name]) for name in slept}


def _in_turn(ranks: Ranks, calls: Mapping[str, Callable[[], float]], steps: int) -> dict[str, float]:
    """Median seconds of each on the slowest rank. (`bench.measure.in_turn` lets each rank choose how often.)"""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(2 + steps):
        for name, seconds in calls.items():
            ranks.gather(None)
            times[name].append(seconds())
    return {name: max(ranks.gather(float(np.median(each[2:])))) for name, each in times.items()}
