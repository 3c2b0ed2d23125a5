"""The schemas of the three kinds of files, and the line by which an editor finds that of a shipped file.

The run's schema holds the definitions of its sections, and those of a sweep and of a comparison refer to its file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import BaseModel

from gandist.compare import Comparison, Variant
from gandist.conditions.kinds import MAKERS
from gandist.config.fields import SHIPPED
from gandist.config.run import RunConfig, field_paths
from gandist.config.sections import Penalty
from gandist.config.typed import Kind
from gandist.gan.networks import NETWORKS
from gandist.media.kinds import MEDIA
from gandist.options import Options
from gandist.schemas.classes import DRAFT, REF, TEXT, Node, definitions, either, reached, relocated
from gandist.tune.space import Domain
from gandist.tune.sweep import Sweep

FOLDER = Path(__file__).parent
KINDS: dict[str, type[BaseModel]] = {"run": RunConfig, "sweep": Sweep, "comparison": Comparison}
TITLES = {"run": "A run of gandist", "sweep": "A sweep of gandist", "comparison": "A comparison of gandist"}
PREFIXES = {"sweep-": "sweep", "compare-": "comparison"}
"""Kinds of shipped files, by how their names begin; all others are configurations of runs."""
LINE = "# yaml-language-server: $schema="
OPTIONS: dict[str, Mapping[str, type[Options]]] = {
    "model": {name: NETWORKS[name].options for name in SHIPPED["model.name"]},
    "data": {name: MEDIA[name] for name in SHIPPED["data.medium"]},
    "condition": {name: MAKERS[name] for name in SHIPPED["condition.kind"] if name in MAKERS},
}
"""The classes of `SECTION.options`, by the name that selects one."""
SELECTS = {"model": "name", "data": "medium", "condition": "kind"}


def schemas() -> dict[str, Node]:
    """The schema of each kind of file."""
    sections = {name: kind for name, field in RunConfig.model_fields.items() if _is_class(kind := field.annotation)}
    options = [kind for kinds in OPTIONS.values() for kind in kinds.values()]
    names, known = definitions([*KINDS.values(), Variant, Domain, Penalty, *sections.values(), *options])
    of = {section: known[names[kind]] for section, kind in sections.items()}
    _tables(of, known[names[Penalty]])
    for section, kinds in OPTIONS.items():
        of[section]["allOf"] = [_options_of(section, name, known[names[kind]], kind) for name, kind in kinds.items()]
    for node in of.values():
        node["type"] = ["object", "null"]  # a section may be left empty
    paths = _paths({section: names[kind] for section, kind in sections.items()}, known[names[RunConfig]])
    _sweep(known[names[Sweep]]["properties"], known[names[Domain]], paths)
    variant = known[names[Variant]]
    variant |= {**paths, "properties": {**variant["properties"], **paths["properties"]}}
    run = _file("run", known[names[RunConfig]] | _known_names_only(), known)
    others = {kind: _file(kind, known[names[KINDS[kind]]], known) for kind in KINDS if kind != "run"}
    return {"run": run, **{kind: _referring(schema, run["definitions"]) for kind, schema in others.items()}}


def line_of(config: Path) -> str:
    """The line that a shipped file opens with, by which an editor finds its schema."""
    kind = next((kind for prefix, kind in PREFIXES.items() if config.name.startswith(prefix)), "run")
    return f"{LINE}../gandist/schemas/{file_of(kind).name}"


def file_of(kind: str) -> Path:
    """The file of a schema."""
    return FOLDER / f"{kind}.schema.json"


def with_line(config: Path) -> str:
    """The text of a shipped file, opened with its line."""
    return f"{line_of(config)}\n" + re.sub(rf"\A{re.escape(LINE)}.*\n", "", config.read_text())


def _is_class(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _file(kind: str, node: Node, known: Mapping[str, Node]) -> Node:
    return {"$schema": DRAFT, "title": TITLES[kind], **node, "definitions": reached(node, known)}


def _referring(schema: Node, of_run: Iterable[str]) -> Node:
    """The schema without the definitions that the run's schema holds: it refers to those there."""
    own = {name: node for name, node in schema["definitions"].items() if name not in of_run}
    rest: Node = relocated({**schema, "definitions": own}, {name: file_of("run").name for name in of_run})
    return rest


def _known_names_only() -> Node:
    """The rule that a file without imports uses none but the shipped names of tables."""
    sections: dict[str, Node] = {}
    for path, names in SHIPPED.items():
        section, _, field = path.partition(".")
        only = {"propertyNames": {"enum": [*names]}} if path == "game.penalties" else {"enum": [*names]}
        sections.setdefault(section, {"properties": {}})["properties"][field] = only
    return {"if": {"not": {"required": ["imports"]}}, "then": {"properties": sections}}


def _tables(sections: Mapping[str, Node], penalty: Node) -> None:
    """Propose the names of tables; a user's file may add others. A penalty may be its weight alone."""
    for path, names in SHIPPED.items():
        section, _, field = path.partition(".")
        fields = sections[section]["properties"]
        if path == "game.penalties":
            term = either(penalty["properties"]["weight"], fields[field]["additionalProperties"])
            fields[field] |= {"properties": dict.fromkeys(names, term), "additionalProperties": term}
        else:
            fields[field] = either({"enum": [*names]}, {**fields[field], "type": TEXT})


def _options_of(section: str, name: str, node: Node, kind: type[Options]) -> Node:
    """The rule that a section with this name has the options of this class; those with fields of their own are not
    among them."""
    elsewhere = getattr(kind, "fields_of_config", {})
    own = {key: field for key, field in node.get("properties", {}).items() if key not in elsewhere}
    return {
        "if": {"properties": {SELECTS[section]: {"const": name}}, "required": [SELECTS[section]]},
        "then": {"properties": {"options": {"properties": own, "additionalProperties": False}}},
    }


def _paths(sections: Mapping[str, str], run: Node) -> Node:
    """A mapping from dotted paths to values of their fields; inside fields that are mappings, any path."""
    fields = {
        path: {"$ref": f"{REF}{sections[path.partition('.')[0]]}/properties/{path.partition('.')[2]}"}
        for path in field_paths()
        if "." in path
    }
    fields |= {path: run["properties"][path] for path in field_paths() if "." not in path}
    inside = [path.replace(".", r"\.") for path in field_paths() if _is_mapping(path)]
    return {
        "properties": fields,
        "patternProperties": {rf"^({'|'.join(inside)})\.": {}},
        "additionalProperties": False,
    }


def _is_mapping(path: str) -> bool:
    arms = Kind(RunConfig).along(path)
    return arms.arm(dict) is not None or any(_is_class(arm) for arm in arms.arms())


def _sweep(fields: dict[str, Node], domain: Node, paths: Node) -> None:
    """`set` and `space` have dotted paths as keys; what may be one word, may."""
    domain["properties"]["when"]["additionalProperties"] = {}
    fields["set"] |= paths
    value, (inside,) = fields["space"]["additionalProperties"], paths["patternProperties"]
    fields["space"] |= {
        "properties": dict.fromkeys(paths["properties"], value),
        "patternProperties": {inside: value},
        "additionalProperties": False,
    }
    fields["metric"] = either(fields["metric"], {"type": "string"})
    kinds = fields["scheduler"].pop("discriminator")["mapping"]
    fields["scheduler"] = either(fields["scheduler"], {"enum": [*kinds]})
