"""The parameters of a sweep for its page: the scale of their values, and their values over time."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gandist.cli.text import number
from gandist.report.axes import DECADES
from gandist.tune.trials import Findings, TrialRecord

NUMBERS = ("uniform", "loguniform", "integer")


@dataclass(frozen=True)
class Parameter:
    """A path of the space, numeric or with categories."""

    path: str
    low: float
    high: float
    """Bounds of the space and of the values; for categories the first and last index."""
    logarithmic: bool = False
    integer: bool = False
    categories: tuple[str, ...] = ()
    """In the space's order; empty for a numeric parameter."""

    def place(self, params: dict[str, Any]) -> float | None:
        """A trial's value as a number, or the index of its category; None if the trial does not have the parameter."""
        if self.path not in params:
            return None
        value = params[self.path]
        return self.categories.index(said(value)) if self.categories else float(value)


def said(value: Any) -> str:
    """A value in words."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value, 4)
    return json.dumps(value, sort_keys=True)


def parameters(findings: Findings) -> list[Parameter]:
    """The parameters of at least one trial, in the order of the space."""
    trials = findings.trials
    sets = [each for trial in trials for each in (trial.params, *(taken.params for taken in trial.lineage))]
    paths = dict.fromkeys([*findings.space, *(path for params in sets for path in params)])
    found = {path: [params[path] for params in sets if path in params] for path in paths}
    return [_parameter(path, findings.space.get(path) or {}, values) for path, values in found.items() if values]


def _parameter(path: str, domain: dict[str, Any], values: Sequence[Any]) -> Parameter:
    kind = next((kind for kind in NUMBERS if domain.get(kind)), None)
    if "choice" in domain or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        names = tuple(dict.fromkeys(map(said, [*domain.get("choice", []), *values])))
        return Parameter(path, 0.0, len(names) - 1.0, categories=names)
    low, high = min([*values, *(domain[kind] if kind else ())]), max([*values, *(domain[kind] if kind else ())])
    wide = low > 0 and math.log10(high / low) > DECADES
    whole = kind == "integer" or all(isinstance(value, int) for value in values)
    return Parameter(path, float(low), float(high), kind == "loguniform" or wide, whole)


def params_at(trial: TrialRecord, images_seen: int | None) -> dict[str, Any]:
    """A trial's parameters at a measurement (None: at its last). Empty if they are unknown: before the trial's first
    takeover of weights."""
    if images_seen is None or not trial.lineage:
        return trial.params
    # A measurement at the moment of a takeover still used the values before it.
    return next((taken.params for taken in reversed(trial.lineage) if taken.images_seen < images_seen), {})
