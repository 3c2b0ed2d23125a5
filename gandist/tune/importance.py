"""The importance of each parameter for a trial's being among the best, by Optuna's PED-ANOVA.

PED-ANOVA (Watanabe et al. 2023) compares the distribution of a parameter over the best trials with that over all
trials. For a conditional parameter it uses the trials that have it.
"""

import logging
import math
import warnings
from typing import Any, NamedTuple

from gandist.tune.parameters import Parameter, parameters, params_at
from gandist.tune.trials import Findings

FEWEST_TRIALS = 5
BEST_TRIALS = 5
"""Minimum number of best trials to compare with all; a tenth of all trials if that is more, but at most half."""


class Importance(NamedTuple):
    shares: dict[str, float]
    """By path, the largest first, with sum 1; empty without a result."""
    best: int
    trials: int
    why_not: str
    """The reason for no result."""


def importance(findings: Findings) -> Importance:
    """Importance of the parameters at `common_images`, with the trials' values at that time."""
    at = findings.common_images()
    searched = parameters(findings)
    found = [
        (value, params)
        for trial in findings.trials
        if at is not None
        and (value := trial.value(findings.metric, at)) is not None
        and (params := params_at(trial, at))
    ]
    if len(found) < FEWEST_TRIALS:
        return _none(f"Trials measured after the same number of images: {len(found)}; it takes {FEWEST_TRIALS}.")
    if len({value for value, _ in found}) == 1:
        return _none(f"All {len(found)} trials measured the same.")
    quantile = max(0.1, min(0.5, BEST_TRIALS / len(found)))
    shares = _shares(found, searched, findings.metrics[findings.metric] == "max", quantile)
    total = sum(shares.values())
    if not total > 0:
        return _none("No parameter tells the best trials from the others.")
    shares = dict(sorted(((path, share / total) for path, share in shares.items()), key=lambda pair: -pair[1]))
    return Importance(shares, math.ceil(quantile * len(found)), len(found), "")


def _none(why: str) -> Importance:
    return Importance({}, 0, 0, why)


def _shares(
    found: list[tuple[float, dict[str, Any]]], searched: list[Parameter], greatest: bool, quantile: float
) -> dict[str, float]:
    """The importance of each parameter that varies, not normalised."""
    import optuna  # importing takes half a second, which starting a sweep does not need

    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(direction="maximize" if greatest else "minimize")
    for value, params in found:
        held = [each for each in searched if each.path in params and each.low < each.high]
        study.add_trial(
            optuna.trial.create_trial(
                value=value,
                params={each.path: _plain(each, params) for each in held},
                distributions={each.path: _distribution(each) for each in held},
            )
        )
    with warnings.catch_warnings():
        # A conditional parameter may have few trials, or ties may put all trials among the best: the page says how
        # little this means, or that it means nothing.
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)


def _plain(parameter: Parameter, params: dict[str, Any]) -> Any:
    place = parameter.place(params)
    assert place is not None
    if parameter.categories:
        return parameter.categories[int(place)]
    return int(place) if parameter.integer else place


def _distribution(parameter: Parameter) -> Any:
    import optuna

    if parameter.categories:
        return optuna.distributions.CategoricalDistribution(parameter.categories)
    if parameter.integer:
        return optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high), log=parameter.logarithmic)
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.logarithmic)
