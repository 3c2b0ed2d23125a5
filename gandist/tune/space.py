"""The space of a sweep: the domain of each configuration path, and the conditions under which it applies."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from gandist.config.run import RunConfig
from gandist.config.sections import Section, one_or_more
from gandist.config.typed import Paths

Values = dict[str, Any]
"""A point of the space: the values of its active paths."""

Bounds = tuple[float, float]
DomainKind = Literal["choice", "uniform", "loguniform", "integer"]
KINDS: tuple[DomainKind, ...] = ("choice", "uniform", "loguniform", "integer")
MOST_WHOLE = 1000
"""Maximum number of integers of a range in a grid."""
OneOrMore = Annotated[tuple[Any, ...], BeforeValidator(one_or_more)]


class Domain(Section):
    """The domain of one path: exactly one of `choice`, `uniform`, `loguniform`, `integer`."""

    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    """One of these values, with equal probability; any values that the field accepts."""
    uniform: Bounds | None = None
    """A real number between two bounds."""
    loguniform: Bounds | None = None
    """A real number between two positive bounds, with a uniform logarithm."""
    integer: tuple[int, int] | None = None
    """An integer between two bounds, both included."""
    when: Annotated[dict[str, OneOrMore], Paths(RunConfig)] = Field(default_factory=dict)
    """Condition: the path is active only if each of these paths, earlier in the space, has one of the given values."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}, has {' and '.join(given) or 'none'}")
        if self.choice is None:
            low, high = self.bounds
            if not low < high:
                raise ValueError(f"{given[0]}: the lower bound comes first, got [{low:g}, {high:g}]")
            if self.loguniform and low <= 0:
                raise ValueError(f"loguniform: the bounds must be positive, got [{low:g}, {high:g}]")
        return self

    @property
    def kind(self) -> DomainKind:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of a numeric domain.

        Raises:
            ValueError: the domain is a choice.
        """
        for bounds in (self.uniform, self.loguniform, self.integer):
            if bounds is not None:
                return bounds
        raise ValueError("a choice has no bounds")

    def counts(self, values: Mapping[str, Any]) -> bool:
        """Whether the path is active, given the values of earlier paths."""
        return all(path in values and values[path] in wanted for path, wanted in self.when.items())

    def draw(self, rng: np.random.Generator) -> Any:
        if self.choice is not None:
            return self.choice[rng.integers(len(self.choice))]
        low, high = self.bounds
        if self.integer:
            return int(rng.integers(*self.integer, endpoint=True))
        if self.loguniform:
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        return float(rng.uniform(low, high))

    def suggest(self, trial: Any, path: str) -> Any:
        """The value that an Optuna trial suggests. Choices are passed as JSON, because Optuna stores plain values
        only."""
        if self.choice is not None:
            names = [json.dumps(value, sort_keys=True) for value in self.choice]
            return self.choice[names.index(trial.suggest_categorical(path, names))]
        low, high = self.bounds
        if self.integer:
            return trial.suggest_int(path, int(low), int(high))
        return trial.suggest_float(path, low, high, log=self.loguniform is not None)

    def listed(self) -> tuple[Any, ...] | None:
        """All values, if the domain can be enumerated."""
        if self.integer and self.integer[1] - self.integer[0] < MOST_WHOLE:
            return tuple(range(self.integer[0], self.integer[1] + 1))
        return self.choice

    def ends(self) -> tuple[Any, ...]:
        """The values most likely to be refused: all of a choice, the bounds of numbers."""
        return self.choice or (self.integer or self.bounds)

    def clipped(self, value: Any) -> Any:
        """The nearest value inside the domain."""
        if self.choice is not None:
            return value
        low, high = self.bounds
        return (int if self.integer else float)(min(max(value, low), high))


Space = dict[str, Domain]


def draw(space: Space, rng: np.random.Generator) -> Values:
    """A random point. Inactive paths draw too, so that a seed's other values do not change."""
    values: Values = {}
    for path, domain in space.items():
        value = domain.draw(rng)
        if domain.counts(values):
            values[path] = value
    return values


def suggested(space: Space, trial: Any) -> Values:
    """The point that an Optuna trial suggests."""
    values: Values = {}
    for path, domain in space.items():
        if domain.counts(values):
            values[path] = domain.suggest(trial, path)
    return values


def grid(space: Space) -> list[Values]:
    """Every point of a space of enumerable domains, each once."""
    points: list[Values] = [{}]
    for path, domain in space.items():
        listed = domain.listed() or ()
        points = [
            {**point, **extra}
            for point in points
            for extra in ([{path: value} for value in listed] if domain.counts(point) else [{}])
        ]
    return points


def outskirts(space: Space, rng: np.random.Generator) -> Iterator[Values]:
    """Points in which each path takes each of its `ends`, with the other paths at random."""
    for path, domain in space.items():
        for end in domain.ends():
            for _ in range(50):  # until the path is active
                values: Values = {}
                for other, its in space.items():
                    if its.counts(values):
                        values[other] = end if other == path else its.draw(rng)
                if path in values:
                    yield values
                    break
