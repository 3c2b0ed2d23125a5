"""The configuration reference, as Markdown: `python -m gandist.config.reference > docs/configuration.md`."""

import json
import sys
from typing import Any

from gandist.conditions.kinds import AUTO, MAKERS
from gandist.config.run import RunConfig, may_change
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.elbo import ELBO
from gandist.gan.likelihood import LIKELIHOOD
from gandist.gan.networks import NETWORKS
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.supervised import NONE

CHOICES: dict[str, Any] = {
    "game.objective": [*OBJECTIVES, ELBO, NONE, LIKELIHOOD],
    "model.name": NETWORKS,
    "condition.kind": [AUTO, *MAKERS],
    "augment.kind": ["none", *AUGMENTATIONS],
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
HEADING = """# Configuration

*Made from the code by `make docs`; a test keeps it current.*

A configuration is a YAML file of the sections below. `section.key=value` on the command line replaces a field, and
of a repeated key the last counts. Unknown keys are refused. A field of type string takes the text
as it was typed, in a file too: the run of `run.name=1.10` is not called `1.1`.

A run is resumed only under the configuration that it began with, but for the fields marked ○: they may change, since
they alter neither the images, nor the noise, nor the mathematics.
"""


def reference() -> str:
    """Every field with its type, default and meaning, from the docstrings in `gandist.config.run`."""
    schema = RunConfig.model_json_schema()
    parts, top = [HEADING], {}
    for name, field in schema["properties"].items():
        if "$ref" in field:
            parts += [f"## {name}\n", _table(name + ".", _resolve(field, schema), RunConfig().resolved()[name], schema)]
        else:
            top[name] = field
    parts += ["## At the top level\n", _table("", {"properties": top}, RunConfig().resolved(), schema)]
    for title, name in (("A penalty", "Penalty"), ("A schedule", "Ramp")):
        part = schema["$defs"][name]
        parts += [f"## {title}\n\n{part['description']}\n", _table("", part, None, schema)]
    return "\n".join(parts)


def _table(prefix: str, section: dict[str, Any], defaults: dict[str, Any] | None, schema: dict[str, Any]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in section["properties"].items():
        free = " ○" if defaults and any(may_change(path) for path in (prefix + name, prefix.rstrip("."))) else ""
        default = defaults[name] if defaults else field.get("default")
        default = "" if default is None else f"`{json.dumps(default)}`"
        if prefix + name in CHOICES:
            field = {**field, "enum": sorted(CHOICES[prefix + name])}
        cells = (f"`{prefix}{name}`{free}", _type(field, schema), default, " ".join(field["description"].split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """A short form of a JSON-schema type."""
    if "anyOf" in field:
        return " or ".join(_type(arm, schema) for arm in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return {"Ramp": "[schedule](#a-schedule)", "Penalty": "[penalty](#a-penalty)"}[_name(field)]
    if field["type"] == "array":
        if "prefixItems" not in field:
            return f"list of {_type(field['items'], schema)}"
        return f"[{', '.join(_type(item, schema) for item in field['prefixItems'])}]"
    if field["type"] == "object":
        values = field["additionalProperties"]
        return "map" if values is True else f"map of {_type(values, schema)}"
    bounds = " ".join(f"{sign} {field[key]:g}" for key, sign in BOUNDS.items() if key in field)
    return f"{field['type']} {bounds}".strip()


def _resolve(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][_name(field)]
    return found


def _name(field: dict[str, Any]) -> str:
    return str(field["$ref"].rpartition("/")[2])


if __name__ == "__main__":
    sys.stdout.write(reference())
