"""The number of trials that the cluster has room for."""

from collections import Counter
from collections.abc import Mapping, Sequence

from gandist.config.run import RunConfig
from gandist.errors import ConfigError
from gandist.tune.sweep import Plan

Resources = Mapping[str, float]
TOGETHER = ("pbt", "hyperband")
"""Schedulers whose trials wait for each other: Ray Tune does not see the trials' workers, so they could wait
forever."""


def room(needed: Resources, workers: int, nodes: Sequence[Resources]) -> int:
    """The number of trials with `workers` workers each that fit at once; a worker must fit on one node."""
    fit = sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in needed.items()) for node in nodes)
    return fit // workers


def concurrent(plan: Plan, needed: Resources, nodes: Sequence[Resources]) -> int:
    """The number of concurrent trials: as many as requested, up to the room of the cluster.

    Raises:
        ConfigError: not even one trial fits; says what it needs and what there is.
    """
    config = plan.base
    workers = workers_of(config)
    needed = {name: amount for name, amount in needed.items() if amount > 0}
    fit = room(needed, workers, nodes) if needed else plan.trials
    if not fit:
        there = Counter[str]()
        for node in nodes:
            there.update({name: amount for name, amount in node.items() if name in needed})
        raise ConfigError(
            f"launch.resources: a trial needs {workers} x {_said(needed)}, each on one node; the cluster has "
            f"{_said(there) or 'none of it'} on {len(nodes)} node{'s' if len(nodes) != 1 else ''}; set launch.workers "
            "or launch.resources lower, or start more nodes"
        )
    at_once = min(fit, plan.sweep.concurrent or fit, plan.trials)
    if plan.sweep.scheduler.kind in TOGETHER and config.launch.kind == "ray" and at_once < plan.trials:
        raise ConfigError(
            f"scheduler: {plan.sweep.scheduler.kind} trains its trials side by side: {plan.trials} trials x {workers} "
            f"workers, and there is room for {at_once}; set trials={at_once}, launch.kind=local, or start more nodes"
        )
    return at_once


def limit(plan: Plan, at_once: int) -> int | None:
    """The limit of Ray Tune on live trials, including paused ones; None if resources limit them."""
    return at_once if plan.base.launch.kind == "ray" or plan.sweep.concurrent else None


def workers_of(config: RunConfig) -> int:
    return config.worker_range[0] if config.launch.kind == "ray" else 1


def nodes(labels: Mapping[str, str]) -> list[Resources]:
    """The resources of the cluster's living nodes with these labels."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return [
        node["Resources"]
        for node in alive
        if all(node.get("Labels", {}).get(label) == value for label, value in labels.items())
    ]


def _said(amounts: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())
