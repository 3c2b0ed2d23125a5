"""The schemas for editors are current, and accept what the loader accepts."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from gandist.config.run import tree_of
from gandist.schemas.files import KINDS, file_of, line_of, schemas
from tests.helpers.checkout_copy import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def read(kind: str) -> Any:
    return json.loads(file_of(kind).read_text())


def faults(kind: str, tree: object) -> list[str]:
    """What an editor would underline. References to files are resolved as in the folder of the schemas."""
    beside = Registry().with_resources((file_of(kind).name, DRAFT7.create_resource(read(kind))) for kind in KINDS)
    found = Draft7Validator(read(kind), registry=beside).iter_errors(tree)
    return [f"{fault.json_path}: {fault.message}" for fault in found]


def test_are_current() -> None:
    made = schemas()
    assert {kind: read(kind) for kind in KINDS} == made, "run `make docs`"
    for schema in made.values():
        Draft7Validator.check_schema(schema)


def test_every_shipped_file_opens_with_its_schema_and_keeps_to_it() -> None:
    for config in CONFIGS:
        line = config.read_text().partition("\n")[0]
        assert line == line_of(config), f"{config.name}: run `make docs`"
        file = (config.parent / line.partition("=")[2]).resolve()
        kind = file.name.removesuffix(".schema.json")
        assert file == file_of(kind)
        assert faults(kind, tree_of(config, KINDS[kind])) == [], config.name


RAMP = {"start": 1, "end": 0, "over_kimg": 3}


@pytest.mark.parametrize(
    "tree",
    [
        {"run": {"name": 1.10}, "model": None},
        {"model": {"name": "mine", "options": {"x": 1}}, "imports": "mine.py", "game": {"penalties": {"mine": 1}}},
        {"model": {"widths": 64}, "launch": {"workers": [1, 2]}},
        {"optim": {"lr_G": RAMP}, "game": {"penalties": {"r1": RAMP, "gp": 10, "lecam": {"interval": 2}}}},
    ],
)
def test_accepts_what_the_loader_accepts(tree: dict[str, Any]) -> None:
    assert faults("run", tree) == []


@pytest.mark.parametrize(
    ("kind", "tree", "fault"),
    [
        ("run", {"modle": {}}, "$: Additional properties are not allowed ('modle' was unexpected)"),
        ("run", {"model": {"nmae": "gan"}}, "$.model: Additional properties are not allowed ('nmae' was unexpected)"),
        ("run", {"model": {"name": "dcgam"}}, "$.model.name: 'dcgam' is not one of ['mlp', 'dcgan', "),
        ("run", {"model": {"name": "unet", "options": {"levles": 3}}}, "$.model.options: Additional properties are "),
        ("run", {"train": {"batch": 0}}, "$.train.batch: 0 is less than the minimum of 1"),
        ("run", {"train.batch": 4}, "$: Additional properties are not allowed ('train.batch' was unexpected)"),
        ("sweep", {"name": "a", "config": "demo", "space": {"optim.lr": {}}}, "$.space: 'optim.lr' does not match"),
        ("sweep", {"set": {"train.batch": 0}}, "$.set['train.batch']: 0 is less than the minimum of 1"),
        (
            "comparison",
            {"name": "a", "measures": [], "variants": {"b": {"config": "demo", "optim.x": 1}}},
            "$.variants",
        ),
    ],
)
def test_underlines_a_typo(kind: str, tree: dict[str, Any], fault: str) -> None:
    assert any(said.startswith(fault) for said in faults(kind, tree)), faults(kind, tree)


def test_every_field_of_a_run_is_explained() -> None:
    schema = read("run")
    for name in ("TrainSection", "ModelSection", "GameSection", "Ramp"):
        assert all(field["description"] for field in schema["definitions"][name]["properties"].values())
