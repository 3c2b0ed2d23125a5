"""The class that all options are declared with: of a configuration's sections, of media and of networks."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler


class Described(BaseModel):
    """A class whose fields' docstrings are their descriptions in the JSON schema.

    They are read where a schema is made. Pydantic's `use_attribute_docstrings` would read them at each import.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        found = handler(schema)
        fields = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in _docstrings(cls).items():
            if name in fields:
                fields[name]["description"] = text
        return found


class Options(Described):
    """Named values, frozen once they are validated; unknown names are refused.

    A field's docstring is its help text and its description in the JSON schema.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

    beside_weights: ClassVar[tuple[str, ...]] = ()
    """Options of a network that leave its weights as they are: a run begins from another with other values."""


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The strings that stand below fields, of a class and of those that it is derived from; none without its source."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, BaseModel) or each in (BaseModel, Described):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError, SyntaxError):  # the last of a class within, with text further left
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, text in pairwise(tree.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    found[name] = inspect.cleandoc(said)
    return found
