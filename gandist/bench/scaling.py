"""Measures the all-reduce of gradients in a step; predicts the efficiency of many GPUs from its bytes, by a model.

Measured: bytes passed to all-reduce (a DDP communication hook sees each bucket) against the ideal, each player's
parameters once per update; the step's time on one rank and on several ranks of this machine; and the share of the time
that disappears when the same ranks do not average. The model is a ring: each of n GPUs sends 2 (n - 1) messages of 1/n
of a bucket one after the other, each at the speed of the slowest link. Beside it a tree, which NCCL takes where latency
counts: up and down a chain inside each node, and a binary tree of the nodes.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gandist.bench.measure import block
from gandist.bench.ranks import Watched, on_ranks
from gandist.cli.text import text_table
from gandist.config.run import RunConfig
from gandist.distributed.ranks import join

WARM_UP = 3


@dataclass(frozen=True)
class MeasuredStep:
    """A step on `ranks` ranks."""

    ranks: int
    step_s: float
    silent_s: float
    """Step time without all-reduce."""
    bytes: int
    """Bytes passed to all-reduce per step, by each rank."""
    buckets: int
    ideal_bytes: int

    @property
    def share(self) -> float:
        """Share of the step's time that all-reduce adds."""
        return max(0.0, 1 - self.silent_s / self.step_s)


@dataclass(frozen=True)
class Machine:
    """Assumptions about a cluster: none of them is measured here."""

    step_s: float = 0.050
    """Time of a step on one GPU without communication."""
    node: int = 8
    """GPUs per node."""
    inside: float = 200e9
    """Bytes/s of a ring inside a node."""
    between: float = 25e9
    """Bytes/s of a ring between nodes."""
    inside_s: float = 5e-6
    """Latency of a message inside a node."""
    between_s: float = 15e-6
    """Latency of a message between nodes."""
    overlap: float = 0.3
    """Share of a step in which gradients are sent while others are still computed."""
    fixed_s: float = 0.0
    """Part of a step that remains however small its batch is."""

    def communication_s(self, gpus: int, bytes: float, buckets: int) -> float:
        """Time to average `bytes` in `buckets` buckets over a ring of all GPUs."""
        bandwidth, latency_s = (self.inside, self.inside_s) if gpus <= self.node else (self.between, self.between_s)
        messages = 2 * (gpus - 1)
        return messages * (bytes / gpus / bandwidth + buckets * latency_s)

    def tree_s(self, gpus: int, bytes: float, buckets: int) -> float:
        """The same over a tree, in which a bucket goes up and comes down in small pieces, one behind the other.

        Source: double binary trees (Sanders, Speck and Träff 2009), which NCCL has had since 2.4.
        """
        if gpus == 1:
            return 0.0
        bandwidth = self.inside if gpus <= self.node else self.between
        levels = math.ceil(math.log2(max(1, gpus / self.node)))
        hops_s = (min(gpus, self.node) - 1) * self.inside_s + levels * self.between_s
        return 2 * (bytes / bandwidth + buckets * hops_s)

    def efficiency(self, gpus: int, bytes: float, buckets: int, shared: bool = False, tree: bool = False) -> float:
        """Speed per GPU relative to a single GPU: with the same batch per GPU, or with one batch `shared` by all."""
        step_s = self.fixed_s + (self.step_s - self.fixed_s) / gpus if shared else self.step_s
        communication_s = (self.tree_s if tree else self.communication_s)(gpus, bytes, buckets)
        exposed_s = max(0.0, communication_s - self.overlap * step_s)
        return (self.step_s / gpus if shared else self.step_s) / (step_s + exposed_s)


OPTIONS = {
    "step_ms": ("step_s", 1e3, "step on one GPU"),
    "gpus_per_node": ("node", 1, "GPUs per node"),
    "bandwidth_inside": ("inside", 1e-9, "GB/s of a ring inside a node"),
    "bandwidth_between": ("between", 1e-9, "GB/s of a ring between nodes"),
    "latency_inside_us": ("inside_s", 1e6, "latency in µs of a message inside a node"),
    "latency_between_us": ("between_s", 1e6, "latency in µs of a message between nodes"),
    "overlap": ("overlap", 1, "share of a step during which gradients travel"),
    "fixed_ms": ("fixed_s", 1e3, "ms of a step that a smaller batch does not shorten"),
}
"""Option: field of `Machine`, option units per unit of the field, and help text."""


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--steps", type=int, default=20, metavar="N", help="measured steps (default: %(default)s)")
    add("--ranks", type=int, default=2, metavar="N", help="processes on this machine (default: %(default)s)")
    add(
        "--gpus",
        type=int,
        nargs="+",
        default=[8, 64, 512],
        metavar="N",
        help="predict for these numbers of GPUs (default: 8 64 512)",
    )
    for name, (field, unit, what) in OPTIONS.items():
        default = getattr(Machine, field) * unit
        kind = type(getattr(Machine, field))
        help = f"assumed: {what} (default: %(default)g)"
        add(f"--{name.replace('_', '-')}", type=kind, default=kind(default), metavar="X", help=help)


def run(config: RunConfig, options: argparse.Namespace) -> None:
    """Measure, model, and print."""
    machine = Machine()
    for name, (field, unit, _) in OPTIONS.items():
        value = getattr(options, name)
        machine = replace(machine, **{field: value if unit == 1 else value / unit})
    measured = [measure(config, ranks, options.steps) for ranks in (1, options.ranks)]
    last = measured[-1]
    predicted = [
        {
            "gpus": gpus,
            "communication_s": machine.communication_s(gpus, last.ideal_bytes, last.buckets),
            "efficiency": machine.efficiency(gpus, last.ideal_bytes, last.buckets),
            "efficiency_shared": machine.efficiency(gpus, last.ideal_bytes, last.buckets, shared=True),
            "tree_s": machine.tree_s(gpus, last.ideal_bytes, last.buckets),
            "efficiency_tree": machine.efficiency(gpus, last.ideal_bytes, last.buckets, tree=True),
            "efficiency_shared_tree": machine.efficiency(gpus, last.ideal_bytes, last.buckets, True, True),
        }
        for gpus in options.gpus
    ]
    if options.json:
        tree = {
            "measured": [{**asdict(each), "share": each.share} for each in measured],
            "assumed": asdict(machine),
            "model": predicted,
        }
        print(json.dumps(tree, indent=1))  # noqa: T201
        return
    print(table(measured, machine, predicted))  # noqa: T201


def table(measured: list[MeasuredStep], machine: Machine, predicted: list[dict[str, Any]]) -> str:
    steps = [
        (
            f"{each.ranks}",
            f"{each.step_s * 1e3:.1f}",
            f"{each.bytes / 1e6:.3f}",
            f"{each.ideal_bytes / 1e6:.3f}",
            f"{each.buckets}",
            f"{each.share:.1%}",
        )
        for each in measured
    ]
    heading = ("ranks", "step_ms", "all-reduced_MB", "ideal_MB", "buckets", "communication")
    lines = ["measured on this machine", text_table([heading, *steps], right=range(6)), "", "assumed, not measured"]
    for name, (field, unit, what) in OPTIONS.items():
        lines.append(f"  {what}: {getattr(machine, field) * unit:g} (--{name.replace('_', '-')})")
    speeds = [
        (
            f"{each['gpus']}",
            f"{each['communication_s'] * 1e3:.2f}",
            f"{each['efficiency']:.1%}",
            f"{each['efficiency_shared']:.1%}",
            f"{each['tree_s'] * 1e3:.2f}",
            f"{each['efficiency_tree']:.1%}",
            f"{each['efficiency_shared_tree']:.1%}",
        )
        for each in predicted
    ]
    kinds = ("_ms", ", batch a GPU fixed", ", global batch fixed")
    columns = ("GPUs", *(shape + kind for shape in ("ring", "tree") for kind in kinds))
    return "\n".join([*lines, "", "model: efficiency", text_table([columns, *speeds], right=range(7))])


def measure(config: RunConfig, ranks: int, steps: int) -> MeasuredStep:
    """Measure a step on `ranks` processes of this machine; images are noise, since their content takes no time.

    Raises:
        RunError: a process failed.
    """
    return MeasuredStep(**on_ranks(_measure, config, ranks, (steps,)))


def _measure(config: RunConfig, steps: int) -> dict[str, Any]:
    ranks = join(config.device)
    watched = Watched(config.optim.gradients == "bf16")
    world = watched.step_of(config, ranks)
    players, n_critic = world.players, config.game.n_critic
    step = block(world.eager, ranks.device)

    def seconds() -> float:
        """Time of the median step on the slowest rank."""
        times = []
        for _ in range(WARM_UP + steps):
            ranks.gather(None)
            times.append(step(1))
        return max(ranks.gather(float(np.median(times[WARM_UP:]))))

    step_s = seconds()
    sent, buckets = (total // (WARM_UP + steps) for total in (watched.bytes, len(watched.buckets)))
    watched.sends = "never"
    silent_s = seconds() if ranks.world_size > 1 else step_s
    updates = ((players.D.net, n_critic), (players.G.net, 1))
    ideal = sum(p.nbytes * times for net, times in updates for p in net.parameters())
    return {
        "ranks": ranks.world_size,
        "step_s": step_s,
        "silent_s": silent_s,
        "bytes": sent,
        "buckets": buckets,
        "ideal_bytes": ideal,
    }
