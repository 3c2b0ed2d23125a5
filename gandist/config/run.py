"""The configuration of a run: YAML and `section.key=value` overrides in, a validated frozen tree out.

A field's docstring is its help text and its description in the JSON schema. Every class forbids unknown keys.
"""

import difflib
import functools
import hashlib
import json
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from gandist.config import extensions, typed
from gandist.config.fields import check, hint
from gandist.config.sections import Section, Tree, one_or_more
from gandist.config.typed import Kind
from gandist.errors import ConfigError

DEMO = "demo"

MAY_CHANGE = (
    "run.name",
    "run.dir",
    "data.path",
    "data.on_damage",
    "data.cache_dir",
    "data.cache_gib",
    "data.prefetch",
    "data.decode_threads",
    "data.resident",
    "train.total_kimg",
    "train.tick_kimg",
    "train.sample_kimg",
    "train.checkpoint_kimg",
    "train.keep",
    "train.keep_every_kimg",
    "eval",
    "health",
    "launch",
    "telemetry",
    "track",
    "device",
    "step",
    "unroll",
    "imports",
    "model.stage_1",
)
"""Fields that may change between a run and its resumption. None changes the noise, the mathematics or the images,
except that damaged samples may be skipped and a diverged run rolled back. (Data is compared by the fingerprint of
its index: shards may move.)"""


class RunConfig(Tree):
    """The complete configuration of a run, with fields that agree."""

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        check(self)
        from gandist.config import checks, sample  # torch, which the faults above need not wait for

        checks.check(self)
        sample.complete_options(self)
        return self

    def resolved(self) -> dict[str, Any]:
        """The whole tree as plain data, as in a run's `config.yaml`."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """sha256 over every field outside `MAY_CHANGE`: runs with the same fingerprint can resume each other."""
        kept = {path: value for path, value in leaves(self.resolved()) if not may_change(path)}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def may_change(path: str) -> bool:
    return any(path == free or path.startswith(free + ".") for free in MAY_CHANGE)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted path, value) pairs of a nested dict."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Fields outside `MAY_CHANGE` in which two resolved configurations differ: 'path: old -> new'."""
    a, b = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}: {a.get(path)!r} -> {b.get(path)!r}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path) and not may_change(path)
    ]


def completed(tree: dict[str, Any]) -> dict[str, Any]:
    """A resolved configuration of an earlier version, with newer fields at their defaults; unchanged if this version
    does not accept it."""
    try:
        return RunConfig.model_validate(tree).resolved()
    except (ConfigError, ValidationError):
        return tree


def override(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the dotted `path` of a nested dict, in place; of a repeated path the last value wins."""
    *parents, leaf = path.split(".")
    for depth, key in enumerate(parents):
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: {'.'.join(parents[: depth + 1])} is a value, not a section")
    tree[leaf] = value


def find(name: str) -> Path:
    """The file of a configuration: a path, or the name of a shipped one (`demo`).

    Raises:
        ConfigError: the file does not exist; the message lists the shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parents[1]
    # A wheel has the configurations inside the package, a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        path = folder / f"{name.removeprefix('configs/').removesuffix('.yaml')}.yaml"
        if path.is_file():
            return path
    shipped = {p.stem for d in (package / "configs", package.parent / "configs") for p in d.glob("*.yaml")}
    raise ConfigError(f"{name}: no such file; shipped configurations: {', '.join(sorted(shipped))}")


def load(name: str = DEMO, overrides: list[str] | None = None) -> RunConfig:
    """Read a configuration file, apply `section.key=value` overrides in order, and validate.

    Raises:
        ConfigError: naming the file, the field and the fix.
    """
    path = find(name)
    tree = tree_of(path)
    for item in overrides or []:
        override(tree, *assignment(item, "section.key=value", Kind(RunConfig).along))
    return validate(tree, source=str(path), beside=path.parent)


def tree_of(path: Path, model: type[BaseModel] = RunConfig) -> dict[str, Any]:
    """The sections in a YAML file, for `model`.

    Raises:
        ConfigError: naming the file, if it cannot be read, is not YAML, or holds no sections.
    """
    try:
        return parse(path.read_bytes(), str(path), model)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def assignment(item: str, form: str, kind: Callable[[str], Kind]) -> tuple[str, Any]:
    """Key and value of an override; `form` describes its syntax, `kind` gives the type of a key.

    Raises:
        ConfigError: the override has another syntax.
    """
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"{item!r}: overrides are written {form}")
    try:
        return key, typed.word(text, kind(key))
    except yaml.YAMLError as error:
        raise ConfigError(f"{item!r}: the value is not YAML: {error}") from error


def parse(text: bytes, source: str, model: type[BaseModel] = RunConfig) -> dict[str, Any]:
    """The sections in a YAML text, for `model`.

    Raises:
        ConfigError: naming `source`, if the text is not YAML or holds no sections.
    """
    try:
        tree = typed.read(text, Kind(model))
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not readable as YAML: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        first, second, *_ = model.model_fields
        raise ConfigError(f"{source}: must hold sections ({first}:, {second}:, ...), found a {type(tree).__name__}")
    return {key: value for key, value in tree.items() if value is not None}  # an empty section


def validate(tree: dict[str, Any], source: str = "configuration", beside: Path | None = None) -> RunConfig:
    """Validate a nested dict. Files that it imports run first; they may lie in the folder `beside`.

    Raises:
        ConfigError: one line per fault, with `source`, the field and the accepted values.
    """
    try:
        if imports := tree.get("imports"):
            extensions.load([path for path in one_or_more(imports) if isinstance(path, str)], beside)
        return RunConfig.model_validate(tree)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except ValidationError as error:
        faults = [fault for fault in error.errors() if _meant(fault)]
        raise ConfigError("\n".join(f"{source}: {_explain(fault)}" for fault in faults)) from None


PLAIN, STRUCTURED = {"int", "constrained-float"}, {"tuple[int, int]", "Ramp"}
"""Pydantic's names for the members of the unions in the tree (`launch.workers`, schedules)."""


def _meant(fault: Any) -> bool:
    """Whether a fault is of the union member that the value was meant for: a mapping or a list is not a number."""
    arm = fault["loc"][-1]
    return arm not in (PLAIN if isinstance(fault["input"], dict | list | tuple) else STRUCTURED)


def _explain(fault: Any) -> str:
    *parents, last = _keys(fault["loc"]) or [""]
    path = ".".join([*parents, last])
    if fault["type"] == "extra_forbidden":
        fields = {field.split(".")[-1]: field for field in field_paths()}
        arms = functools.reduce(Kind.at, parents, Kind(RunConfig)).arms()
        nearby = list(next((arm.model_fields for arm in arms if hasattr(arm, "model_fields")), {}))
        meant = hint(last, nearby)
        if not meant and (match := difflib.get_close_matches(last, fields, n=1)):
            meant = f"; did you mean {fields[match[0]]!r}?"
        return f"{path or repr(last)}: unknown key{meant or '; did you mean one of ' + ', '.join(nearby) + '?'}"
    return f"{path}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"


def _keys(loc: tuple[str | int, ...]) -> list[str]:
    """The keys of a fault, without the union members that pydantic adds."""
    keys, here, is_arm = [], Kind(RunConfig), False
    for part in loc:
        is_arm = not is_arm and len([arm for arm in here.arms() if arm is not types.NoneType]) > 1
        if not is_arm:
            keys.append(str(part))
            here = here.item(part) if isinstance(part, int) else here.at(part)
    return keys


def field_paths(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Dotted paths of all fields."""
    paths: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            paths += field_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
