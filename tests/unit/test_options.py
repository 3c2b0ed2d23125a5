"""Descriptions in JSON schemas are the docstrings of fields."""

from typing import Any

from gandist.options import Options


class Base(Options):
    """Is derived from."""

    width: int = 8
    """Channels of the first layer,
    and of the last."""
    depth: int = 2


class Derived(Base):
    """Has a field more, and another docstring for one."""

    depth: int = 3
    """Layers."""
    inner: Base = Base()
    """Another one."""


def test_a_fields_docstring_is_its_description() -> None:
    fields = Derived.model_json_schema()["properties"]
    told = {name: field.get("description") for name, field in fields.items()}
    assert told == {
        "width": "Channels of the first layer,\nand of the last.",
        "depth": "Layers.",
        "inner": "Another one.",
    }
    assert "description" not in Base.model_json_schema()["properties"]["depth"]


def test_a_class_without_its_source_has_a_schema_too() -> None:
    names: dict[str, Any] = {"Options": Options, "__name__": "typed_in"}
    exec('class Typed(Options):\n    width: int = 8\n    """Channels."""\n', names)
    assert names["Typed"].model_json_schema()["properties"] == {
        "width": {"default": 8, "title": "Width", "type": "integer"}
    }
