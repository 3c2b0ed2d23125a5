"""Options of a class that a table knows by name, written as a mapping from that name to its fields."""

from collections.abc import Mapping
from typing import Any, TypeVar

from gandist.options import Options

Kind = TypeVar("Kind", bound=Options)


def name_of(value: Options, table: Mapping[str, type[Kind]]) -> str:
    """The name of its class in the table."""
    return next(name for name, kind in table.items() if kind is type(value))


def from_mapping(value: object, table: Mapping[str, type[Kind]], what: str) -> object:
    """`{blur: {sigma: 2}}` as an instance; `{grey: }` and `grey` take all defaults. Instances stay.

    Raises:
        ValueError: not one name, or an unknown one; `what` says of what.
    """
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1:
        raise ValueError(f"{what} is one name with its options, not {len(value)} names: {', '.join(map(str, value))}")
    ((name, options),) = value.items()
    if name not in table:
        raise ValueError(f"{name!r} is not the name of {what}; there are {', '.join(table)}")
    return table[name].model_validate({} if options is None else options)


def as_mapping(value: Options, table: Mapping[str, type[Kind]]) -> dict[str, Any]:
    """What `from_mapping` reads, all fields written out."""
    return {name_of(value, table): value.model_dump()}
