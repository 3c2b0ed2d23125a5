"""Kubernetes manifests, and what their schemas say against them: those of the API server, made strict."""

import copy
import gzip
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cel
import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from tests.helpers.checkout_copy import ROOT

K8S = ROOT / "k8s"
CRDS = Path(os.environ.get("GANDIST_CRDS", ROOT.parent / "shared/crds"))
"""Schemas of the custom resources, a gzipped JSON file each: `{schema, scope, ...}`."""
CUSTOM_GROUPS = ("ray.io", "kueue.x-k8s.io", "monitoring.coreos.com")
"""API groups whose kinds are custom resources. All others are Kubernetes' own."""
CLUSTER_WIDE = ("Namespace", "ClusterQueue", "ResourceFlavor")


@dataclass(frozen=True)
class Manifest:
    """An object, and the file that it stands in (relative to `k8s/`)."""

    file: Path
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name"))

    @property
    def namespace(self) -> str | None:
        namespace: str | None = self.body.get("metadata", {}).get("namespace")
        return namespace

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.body["metadata"].get("labels", {})
        return labels

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.body.get("spec", {})
        return spec

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"


class Loader(yaml.SafeLoader):
    """YAML as kubectl reads it strictly: a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"key twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def load(folder: Path = K8S) -> list[Manifest]:
    """Every object of every file, each a tree of its own (anchors are taken apart)."""
    files = sorted(folder.rglob("*.yaml"))
    return [
        Manifest(file.relative_to(folder), json.loads(json.dumps(body)))
        for file in files
        for body in yaml.load_all(file.read_text(), Loader)
    ]


def crd(api_version: str, kind: str) -> dict[str, Any] | None:
    """The schema of a custom resource; None for a kind of Kubernetes itself.

    Raises:
        LookupError: there is none of that kind and version.
    """
    group, _, version = api_version.partition("/")
    if group not in CUSTOM_GROUPS:
        return None
    file = CRDS / f"{kind}.{group}.{version}.json.gz"
    if not file.exists():
        raise LookupError(f"no schema of {kind} in {api_version}")
    with gzip.open(file) as stream:
        schema: dict[str, Any] = json.load(stream)["schema"]
    return schema


def strict(schema: Any) -> Any:
    """The schema without room for unknown fields, which the API server would drop in silence."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    is_schema = isinstance(schema.get("type"), str)
    if is_schema and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults in it, as the API server has it before it looks at rules."""
    if isinstance(value, dict):
        filled = dict(value)
        for key, inner in schema.get("properties", {}).items():
            if key not in filled and "default" in inner:
                filled[key] = copy.deepcopy(inner["default"])
            if key in filled:
                filled[key] = with_defaults(inner, filled[key])
        return filled
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [with_defaults(schema["items"], each) for each in value]
    return value


@dataclass
class Rules:
    """What became of the CEL rules (`x-kubernetes-validations`) that lie on the way of an object."""

    faults: list[str] = field(default_factory=list)
    evaluated: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Those that compare with an earlier state of the object (`oldSelf`): a file has none."""


def rules(schema: dict[str, Any], value: Any) -> Rules:
    """Evaluate the rules of a schema on a value that has its defaults."""
    found = Rules()
    for path, rule, at in _rules(schema, value, ""):
        if re.search(r"\boldSelf\b", rule["rule"]):
            found.skipped.append(rule["rule"])
            continue
        found.evaluated.append(rule["rule"])
        try:
            holds = cel.evaluate(rule["rule"], {"self": at})
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            found.faults.append(f"{path or '.'}: rule {rule['rule']} cannot be evaluated: {error}")
            continue
        if holds is not True:
            found.faults.append(f"{path or '.'}: {rule.get('message', rule['rule'])}")
    return found


def _rules(schema: dict[str, Any], value: Any, path: str) -> Iterator[tuple[str, dict[str, str], Any]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule, value
    if isinstance(value, dict):
        for key, inner in value.items():
            of_key = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(of_key, dict):
                yield from _rules(of_key, inner, f"{path}.{key}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for i, inner in enumerate(value):
            yield from _rules(schema["items"], inner, f"{path}[{i}]")


def schema_faults(manifest: Manifest) -> list[str]:
    """What the API server would refuse or drop."""
    try:
        return [f"{manifest}: {fault}" for fault in _schema_faults(json.dumps(manifest.body))]
    except LookupError as error:
        return [f"{manifest}: {error}"]


@lru_cache  # one object of many is another in each test
def _schema_faults(text: str) -> list[str]:
    body = json.loads(text)
    schema = crd(str(body.get("apiVersion")), str(body.get("kind")))
    if schema is None:
        try:
            kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            return [error.message]
        except kubernetes_validate.SchemaNotFoundError as error:
            raise LookupError(f"no schema of {body.get('kind')} in {body.get('apiVersion')}") from error
        return []
    errors = Draft202012Validator(strict(schema)).iter_errors(body)
    return [f"{error.json_path}: {error.message}" for error in errors] + rules(
        schema, with_defaults(schema, body)
    ).faults
