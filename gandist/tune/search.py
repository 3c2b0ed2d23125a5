"""Build Ray Tune's scheduler and searcher from a sweep's."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.optuna import OptunaSearch

from gandist.tune.space import Domain, Space, suggested
from gandist.tune.sweep import Asha, HyperBand, Median, Plan, Population

KIMG, ROUND = "kimg", "round"
"""The time units of schedulers: thousands of images seen, and measurements."""


def scheduler(plan: Plan) -> TrialScheduler:
    """The scheduler, which decides which trials go on."""
    chosen, config = plan.sweep.scheduler, plan.base
    total_kimg = config.train.total_kimg
    every_kimg = config.eval.every_kimg or total_kimg
    metric, mode = next(iter(plan.metrics.items()))
    judged: dict[str, Any] = {"time_attr": KIMG, "metric": metric, "mode": mode}
    match chosen:
        case Asha():
            grace_kimg = chosen.grace_kimg or every_kimg
            return ASHAScheduler(**judged, max_t=total_kimg, grace_period=grace_kimg, reduction_factor=chosen.reduction)
        case HyperBand():
            judged["time_attr"] = ROUND  # its brackets need whole numbers
            rounds = math.ceil(total_kimg / every_kimg)
            return HyperBandScheduler(**judged, max_t=rounds, reduction_factor=chosen.reduction)
        case Median():
            grace_kimg = chosen.grace_kimg or every_kimg
            return MedianStoppingRule(**judged, grace_period=grace_kimg, min_samples_required=chosen.least_trials)
        case Population():
            random.seed(plan.sweep.seed)  # Ray's population draws from the global generators of Python and numpy
            np.random.seed(plan.sweep.seed)
            return PopulationBasedTraining(
                **judged,
                perturbation_interval=chosen.interval_kimg or every_kimg,
                # Under one key, since the paths contain dots; fields that a trial does not search stay unchanged.
                hyperparam_mutations={"point": {path: _redrawn(domain) for path, domain in plan.sweep.space.items()}},
                quantile_fraction=chosen.quantile,
                resample_probability=chosen.resample,
                perturbation_factors=chosen.factors,
                custom_explore_fn=_clip(plan.sweep.space),
                synch=True,
                log_config=False,
            )
        case _:
            return FIFOScheduler()


def _redrawn(domain: Domain) -> Any:
    """The function by which Ray draws a new value from a domain."""
    if domain.choice is not None:
        return list(domain.choice)
    low, high = domain.bounds
    if domain.integer:
        return tune.randint(int(low), int(high) + 1)
    return tune.loguniform(low, high) if domain.loguniform else tune.uniform(low, high)


def _clip(space: Space) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def clip(config: dict[str, Any]) -> dict[str, Any]:
        point = {path: space[path].clipped(value) for path, value in config["point"].items()}
        return {**config, "point": point}

    return clip


class Proposal:
    """A space as a define-by-run function of Optuna; a class, because Ray Tune pickles it into its state."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def __call__(self, trial: Any) -> dict[str, Any]:
        return {"point": suggested(self.space, trial)}


def searcher(plan: Plan) -> OptunaSearch | None:
    """The searcher, which proposes points as trials go; None if the points are given."""
    if plan.points is not None:
        return None
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    several = len(plan.metrics) > 1
    metric, mode = (list(plan.metrics), list(plan.metrics.values())) if several else next(iter(plan.metrics.items()))
    return OptunaSearch(Proposal(plan.sweep.space), metric=metric, mode=mode, seed=plan.sweep.seed)


class _Remembered:
    """A trial of an earlier driver, with the attributes that a scheduler reads."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def recall(judge: TrialScheduler, curves: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Replay the reports of finished trials, by id, to a scheduler: after the loss of a driver Ray Tune restores its
    trials but not the state of its scheduler. HyperBand's brackets and populations begin anew."""
    if isinstance(judge, ASHAScheduler | MedianStoppingRule):
        for trial_id, results in curves.items():
            trial = _Remembered(trial_id)
            judge.on_trial_add(None, trial)
            for result in results:
                judge.on_trial_result(None, trial, result)
