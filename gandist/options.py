"""The class that all options are declared with: of a configuration's sections, of media and of networks."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Named values, frozen once they are validated; unknown names are refused.

    A field's docstring is its help text and its description in the JSON schema.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

    beside_weights: ClassVar[tuple[str, ...]] = ()
    """Options of a network that leave its weights as they are: a run begins from another with other values."""
