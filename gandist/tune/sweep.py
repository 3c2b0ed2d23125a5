"""Reads a sweep file, and validates every point that it can lead to before the first trial."""

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from gandist.config.fields import choice, hint
from gandist.config.paths import absolute
from gandist.config.run import RunConfig, assignment, field_paths, find, override, tree_of, validate
from gandist.config.schedule import images_of
from gandist.config.sections import Section
from gandist.config.typed import Kind, Paths
from gandist.errors import ConfigError
from gandist.launch.resumption import run_root
from gandist.monitoring.metrics import OF_MOTION
from gandist.run.evaluations import is_higher_better
from gandist.tune.reported import reported_by
from gandist.tune.space import Domain, Values, draw, grid, outskirts
from gandist.tune.trials import Direction

DEFAULTS: Values = {"health.diverged": "stop", "health.collapsing": "stop"}
"""Defaults that stop a diverging trial, to make room for the next."""
CERTAIN_DRAWS = 20
"""Number of random points to validate if the searcher proposes points later."""


class Unscheduled(Section):
    kind: Literal["none"] = "none"


class Asha(Section):
    """Asynchronous successive halving (Li et al. 2020): only the best trials continue at each rung."""

    kind: Literal["asha"]
    grace_kimg: float | None = Field(None, gt=0)
    """The first rung, before which no trial stops (default: `eval.every_kimg`)."""
    reduction: float = Field(3.0, gt=1)
    """One in this many trials continues, and the next rung is this many times as far."""


class HyperBand(Section):
    """Successive halving in brackets, whose trials wait for each other (Li et al. 2018)."""

    kind: Literal["hyperband"]
    reduction: float = Field(3.0, gt=1)
    """One in this many trials continues."""


class Median(Section):
    """Stop a trial that is worse than the median of the others' running averages (Google Vizier)."""

    kind: Literal["median"]
    grace_kimg: float | None = Field(None, gt=0)
    """No trial stops before this (default: `eval.every_kimg`)."""
    least_trials: int = Field(3, ge=1)
    """Minimum number of trials for a median."""


class Population(Section):
    """Population-based training (Jaderberg et al. 2017): the worst trials copy the best ones' weights and vary their
    values."""

    kind: Literal["pbt"]
    interval_kimg: float | None = Field(None, gt=0)
    """Interval of exchanges (default: `eval.every_kimg`)."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the trials that count as the worst, and as the best."""
    resample: float = Field(0.25, ge=0, le=1)
    """Probability that a value is drawn anew instead of varied."""
    factors: tuple[float, float] = (1.25, 0.8)
    """The factors for numbers, one of which is chosen. (A choice moves to a neighbour in its list.)"""


def _of_kind(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


Scheduler = Annotated[
    Annotated[Unscheduled | Asha | HyperBand | Median | Population, Field(discriminator="kind")],
    BeforeValidator(_of_kind),
]
FORKED = ("optim.lr_G", "optim.lr_D", "optim.betas", "optim.weight_decay", "optim.ema", "game.", "augment.p", "health.")
"""Fields that may change when a trial continues with another's weights: they keep the checkpoint's format."""


class Sweep(Section):
    """The contents of a sweep file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the sweep: its folder inside `dir`."""
    dir: str = "sweeps"
    """Root of sweeps: a folder, or `s3://bucket/prefix`. Every worker must have access to it."""
    config: str
    """Base configuration of the trials: a path relative to the working directory or the sweep file, or the name of a
    shipped one."""
    set: Annotated[dict[str, Any], Paths(RunConfig)] = Field(default_factory=dict)
    """Overrides for all trials, by configuration path; `train.total_kimg` is a trial's budget, `eval.every_kimg`
    the interval of its measurements, `launch.workers` and `launch.resources` its hardware."""
    space: Annotated[dict[str, Domain], Paths(RunConfig)] = Field(min_length=1)
    """The space to search, by configuration path."""
    metric: dict[str, Direction] = Field(default_factory=dict)
    """The metrics and their directions, `min` or `max`; a metric alone is sought in its better direction. With several,
    the searcher seeks the best compromises, and the first ranks the trials (default: the Fréchet distance, `min`)."""
    trials: int | None = Field(None, ge=1)
    """Number of trials (default: 16; with the grid: all its points)."""
    concurrent: int | None = Field(None, ge=1)
    """Number of concurrent trials (default: as many as the cluster has room for)."""
    searcher: Literal["random", "grid", "tpe"] = "random"
    """Choice of the points: at random, all of them, or by Optuna's tree-structured Parzen estimator."""
    scheduler: Scheduler = Unscheduled()
    """The scheduler: `none` (all trials continue), `asha`, `hyperband`, `median` or `pbt`, with its settings beside
    `kind`."""
    seed: int = Field(0, ge=0)
    """Seed of the points. (`run.seed` of the trials comes from the configuration, equal for all, or is searched.)"""

    @field_validator("metric", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.removeprefix("quality/") in OF_MOTION:
            raise ValueError(
                f"{value} is best where it equals that of real clips, neither highest nor lowest; name "
                f"another metric, or give a direction, as {{{value}: min}}"
            )
        return {value: "max" if is_higher_better(value.removeprefix("quality/")) else "min"}

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.searcher == "grid":
            for path, domain in self.space.items():
                if domain.listed() is None:
                    raise ValueError(
                        f"space.{path}: a grid needs choice or integer; use one of these, or set searcher=random"
                    )
            if self.trials is not None:
                raise ValueError("trials: a grid has as many as it has points; leave it out")
        if len(self.metric) > 1 and (self.searcher != "tpe" or self.scheduler.kind != "none"):
            raise ValueError("metric: several metrics cannot rank a running trial; set searcher=tpe and scheduler=none")
        if self.scheduler.kind in ("pbt", "hyperband") and self.concurrent is not None:
            raise ValueError(f"concurrent: {self.scheduler.kind} trains its trials side by side; leave it out")
        if self.scheduler.kind == "pbt":
            self._check_population()
        self._check_order()
        return self

    def _check_population(self) -> None:
        if self.searcher == "tpe":
            raise ValueError("scheduler: pbt varies the points itself; set searcher=random")
        if (self.trials or 2) < 2:
            raise ValueError("trials: a population needs at least 2; set more")
        for path, domain in self.space.items():
            if domain.when:
                raise ValueError(f"space.{path}.when: pbt varies every value of a trial; leave conditions out")
            if not path.startswith(FORKED) or path == "game.penalties":
                raise ValueError(f"space.{path}: cannot change in a trained run; pbt searches {', '.join(FORKED)}...")

    def _check_order(self) -> None:
        before: list[str] = []
        for path, domain in self.space.items():
            for other in domain.when:
                if other not in before:
                    raise ValueError(
                        f"space.{path}.when: {other} is no path above it in the space{hint(other, before)}"
                    )
            before.append(path)


@dataclass(frozen=True)
class Plan:
    """A validated sweep."""

    sweep: Sweep
    tree: dict[str, Any]
    """The complete common configuration of all trials, with absolute paths and the sweep's own settings."""
    origin: dict[str, Any]
    """The configuration with `set` applied, and no other changes."""
    metrics: dict[str, Direction]
    points: list[Values] | None
    """The points of all trials in order; None if the searcher proposes them."""

    @property
    def base(self) -> RunConfig:
        return validate(self.tree)

    @property
    def trials(self) -> int:
        return len(self.points) if self.points is not None else self.sweep.trials or DEFAULT_TRIALS


DEFAULT_TRIALS = 16


def trial_config(tree: dict[str, Any], values: Values, folder: str | None = None, name: str = "trial") -> RunConfig:
    """The configuration of a trial at a point of the space, with its run in `folder`.

    Raises:
        ConfigError: a field refuses its value, or fields do not fit together.
    """
    tree = copy.deepcopy(tree)
    for path, value in values.items():
        override(tree, path, copy.deepcopy(value))
    if folder is not None:
        override(tree, "run.dir", folder)
        override(tree, "run.name", name)
    return validate(tree, source=", ".join(f"{path}={_said(value)}" for path, value in values.items()))


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read(file: str, overrides: Sequence[str] = ()) -> Plan:
    """Read a sweep file and apply `key=value` overrides: of the file's own keys, or of a field in all trials.

    Raises:
        ConfigError: the file is not valid; the message names the file, the key and the fix.
    """
    path = find(file)
    tree = tree_of(path, Sweep)
    for item in overrides:
        _override(tree, *assignment(item, "key=value", _kind))
    try:
        sweep = Sweep.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())) from None
    try:
        return _plan(sweep, path)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def _kind(key: str) -> Kind:
    """The type of an override's key: one of the sweep, or a field in all trials."""
    return Kind(Sweep if key.partition(".")[0] in Sweep.model_fields else RunConfig).along(key)


def _override(tree: dict[str, Any], key: str, value: Any) -> None:
    first, _, rest = key.partition(".")
    if first not in Sweep.model_fields:
        if not rest:
            raise ConfigError(f"{key}: is no key of a sweep file{hint(key, Sweep.model_fields)}")
        first, rest = "set", key
    if rest and first in ("set", "space", "metric"):  # their keys contain dots
        tree[first] = {**(tree.get(first) or {}), rest: value}
    else:
        if rest and first == "scheduler":  # its name alone may replace it
            tree[first] = _of_kind(tree.get(first))
        override(tree, key, value)


def _explain(fault: Any) -> str:
    kinds = {"none", "asha", "hyperband", "median", "pbt"}
    key = ".".join(str(part) for part in fault["loc"] if part not in kinds)
    if fault["type"] == "extra_forbidden":
        nearby = Domain.model_fields if key.startswith("space.") else Sweep.model_fields
        return f"{key}: unknown key{hint(str(fault['loc'][-1]), nearby)}"
    said = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {said[0].lower()}{said[1:]}" if key else said


def _plan(sweep: Sweep, source: Path) -> Plan:
    for section in ("set", "space"):
        for path in getattr(sweep, section):
            _check_path(section, path)
    origin = _loaded(sweep, source, sweep.set).resolved()
    base = _loaded(sweep, source, {**DEFAULTS, **sweep.set})
    tree = absolute(base)
    reported = reported_by(base)
    metrics = sweep.metric or {reported[0]: "min"}
    for metric in metrics:
        choice("metric", metric, reported)
    if base.eval.every_kimg is None or base.train.total_kimg < base.eval.every_kimg:
        raise ConfigError(
            f"eval.every_kimg: {base.eval.every_kimg} in a budget of {base.train.total_kimg:g} (train.total_kimg) "
            "measures nothing; set eval.every_kimg to a half or a third of the budget"
        )
    for key in ("grace_kimg", "interval_kimg"):
        kimg = getattr(sweep.scheduler, key, None)
        if kimg is not None and kimg > base.train.total_kimg:
            raise ConfigError(
                f"scheduler.{key}: {kimg:g} lies past the budget of {base.train.total_kimg:g} (train.total_kimg)"
            )
    low, _ = base.worker_range
    override(tree, "launch.workers", low)  # with more, trials would wait for each other
    override(tree, "train.checkpoint_kimg", base.eval.every_kimg)
    rng, points = np.random.default_rng(sweep.seed), None
    if sweep.searcher == "grid":
        points = grid(sweep.space)
    elif sweep.searcher == "random":
        points = [draw(sweep.space, rng) for _ in range(sweep.trials or DEFAULT_TRIALS)]
    if sweep.scheduler.kind == "pbt":
        # Checkpoints must last until waiting trials have resumed from them; and a diverged trial takes over another's
        # weights instead of ending.
        override(tree, "train.keep", images_of(base.train.total_kimg) // images_of(base.eval.every_kimg) + 2)
        for path in DEFAULTS:
            override(tree, path, sweep.set.get(path, "warn"))
    tried = [*(points or ()), *outskirts(sweep.space, rng)]
    if points is None or sweep.scheduler.kind == "pbt":
        tried += [draw(sweep.space, rng) for _ in range(CERTAIN_DRAWS)]
    for values in tried:
        trial_config(tree, values)
    return Plan(sweep, tree, origin, metrics, points)


def _check_path(section: str, path: str) -> None:
    """Refuse a path that is neither a field nor inside a field that takes mappings (`game.penalties.r1.weight`)."""
    fields = field_paths()
    if any(path == field or path.startswith(f"{field}.") for field in fields):
        return
    inside = [field for field in fields if field.startswith(f"{path}.")]
    if inside:
        raise ConfigError(f"{section}.{path}: is a section; name a field, such as {section}.{inside[0]}")
    leaf = {field.rpartition(".")[2]: field for field in fields}
    meant = difflib.get_close_matches(path, fields, n=1) or [
        leaf[name] for name in difflib.get_close_matches(path.rpartition(".")[2], leaf, n=1)
    ]
    raise ConfigError(f"{section}.{path}: is no field{f'; did you mean {meant[0]!r}?' if meant else ''}")


def find_beside(config: str, source: Path) -> Path:
    """The file of the base configuration: relative to the working directory, to the sweep file, or a shipped one."""
    beside = source.parent / config
    return beside if not Path(config).is_file() and beside.is_file() else find(config)


def _loaded(sweep: Sweep, source: Path, values: Values) -> RunConfig:
    """The base configuration with these values."""
    path = find_beside(sweep.config, source)
    tree = tree_of(path)
    for key, value in values.items():
        override(tree, key, value)
    return validate(tree, source=str(path), beside=path.parent)


def sweep_root(sweep: Sweep) -> str:
    """SWEEP: `dir/name`, absolute."""
    return run_root(RunConfig.model_validate({"run": {"dir": sweep.dir, "name": sweep.name}}))
