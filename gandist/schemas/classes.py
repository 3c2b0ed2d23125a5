"""JSON schemas of classes of options, in the draft that editors know, which accept what `gandist.config` accepts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.json_schema import models_json_schema

from gandist.config.sections import one_or_more

Node = dict[str, Any]
"""A part of a JSON schema."""
REF = "#/definitions/"
DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest draft that yaml-language-server knows (its README: "Supports JSON Schema 7 and below")."""
TEXT = ["string", "number", "boolean"]
"""A text field takes what was typed, also where YAML reads a number: a run may be named 1.10."""


def definitions(classes: Iterable[type[BaseModel]]) -> tuple[dict[type[BaseModel], str], dict[str, Node]]:
    """The schemas of classes, and of all classes in them: names by class, and schemas by name."""
    classes = [*classes]
    nodes, joint = models_json_schema([(each, "validation") for each in classes], ref_template=REF + "{model}")
    names = {each: str(nodes[each, "validation"]["$ref"]).removeprefix(REF) for each in classes}
    found = {name: _draft_7(node) for name, node in joint["$defs"].items()}
    for each, name in names.items():
        for field in _lenient(each):
            _also_alone(found[name]["properties"][field])
    return names, found


def reached(node: Node, among: Mapping[str, Node]) -> dict[str, Node]:
    """The definitions that a schema refers to, and that they refer to themselves, by name in alphabetical order."""
    found: dict[str, Node] = {}
    new = [node]
    while new:
        for ref in _refs(new.pop()):
            name = _name(ref)
            if name not in found:
                found[name] = among[name]
                new.append(among[name])
    return dict(sorted(found.items()))


def relocated(node: Any, files: Mapping[str, str]) -> Any:
    """The same schema, with references to definitions in other files: files by the definitions' names."""
    if isinstance(node, list):
        return [relocated(item, files) for item in node]
    if not isinstance(node, dict):
        return node
    new = {key: relocated(value, files) for key, value in node.items()}
    if isinstance(ref := node.get("$ref"), str):
        new["$ref"] = files.get(_name(ref), "") + ref
    return new


def either(*arms: Node) -> Node:
    """A value that one of the schemas accepts, with the default and the description of the first that has them."""
    about: Node = {key: arm[key] for arm in reversed(arms) for key in ("default", "description") if key in arm}
    return {"anyOf": [{key: value for key, value in arm.items() if key not in about} for arm in arms], **about}


def _lenient(model: type[BaseModel]) -> Iterator[str]:
    """The fields that take a single item in place of a list."""
    for name, field in model.model_fields.items():
        if any(isinstance(note, BeforeValidator) and note.func is one_or_more for note in field.metadata):
            yield name


def _also_alone(field: Node) -> None:
    array = {key: field.pop(key) for key in [*field] if key not in ("default", "description")}
    field["anyOf"] = [array, array["items"]]


def _draft_7(node: Any) -> Any:
    """The same schema for draft 7, without titles, which repeat the keys, and without defaults that fill a section."""
    if isinstance(node, list):
        return [_draft_7(item) for item in node]
    if not isinstance(node, dict):
        return node
    new = {key: _draft_7(value) for key, value in node.items() if key not in ("title", "properties", "default")}
    if "default" in node and not isinstance(node["default"], dict):
        new["default"] = node["default"]
    if "properties" in node:
        new["properties"] = {name: _draft_7(field) for name, field in node["properties"].items()}
    if "prefixItems" in new:
        new["items"], new["additionalItems"] = new.pop("prefixItems"), False
    if new.get("type") == "string" and not {"enum", "const"} & new.keys():
        new["type"] = TEXT
    if "description" in new:
        new["description"] = " ".join(new["description"].split())
    if "$ref" in new and len(new) > 1:  # whose neighbours draft 7 ignores
        new["allOf"] = [{"$ref": new.pop("$ref")}]
    return new


def _name(ref: str) -> str:
    return ref.removeprefix(REF).partition("/")[0]


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _refs(value)
    elif isinstance(node, list):
        for item in node:
            yield from _refs(item)
