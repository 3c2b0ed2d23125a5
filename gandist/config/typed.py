"""YAML read for the class that it fills: a text field takes the text exactly as typed.

Plain YAML reads `1.10` as a number, `010` as 8, `12:30` as 750, `yes` as true and `2024-01-01` as a date. A run named
`1.10` would become the run `1.1`.
"""

import re
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel

INT, FLOAT, DATE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))


class Loader(yaml.SafeLoader):
    """PyYAML's loader without dates and with decimal numbers only: a leading zero does not make a number octal, and
    `12:30` is not 12 * 60 + 30."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        return int(text, 10 if text.lstrip("+-").isdigit() else 0)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in (INT, FLOAT, DATE)]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_constructor(INT, Loader.construct_int)
Loader.add_implicit_resolver(INT, re.compile(r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$"), list("-+0123456789"))
Loader.add_implicit_resolver(
    FLOAT,
    re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class QuickLoader(_BASE):  # type: ignore[misc]
    """`Loader` with the parser in C, if PyYAML has it: faster, and its faults show no excerpt."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers
    yaml_constructors = Loader.yaml_constructors


class Paths(NamedTuple):
    """Annotates a dict whose keys are dotted paths of `model`; `Any` in its values stands for those fields' types.

    A class that takes keys beyond its fields sets `OTHERS` to the class that these keys are paths of.
    """

    model: type[BaseModel]


class Kind(NamedTuple):
    """The type that a value is for."""

    type: Any = Any
    """A type, as in a field's annotation."""
    any: Any = Any
    """The type that `Any` inside `type` stands for."""
    paths: Paths | None = None

    def arms(self) -> list[Any]:
        """The members of a union type; otherwise the type itself."""
        return [arm for arm in _members(self.any if self.type is Any else self.type) if arm is not Any]

    def arm(self, *origins: type) -> Any:
        """The first member that is a tuple, a dict or another of `origins`; None if there is none."""
        return next((arm for arm in self.arms() if typing.get_origin(arm) in origins), None)

    @property
    def is_text(self) -> bool:
        """Whether it holds text, or text or None."""
        arms = [arm for arm in self.arms() if arm is not types.NoneType]
        words = (typing.get_args(arm) if typing.get_origin(arm) is Literal else (arm,) for arm in arms)
        return bool(arms) and all(word is str or isinstance(word, str) for each in words for word in each)

    def item(self, number: int) -> "Kind":
        """The kind of a list's items."""
        args = typing.get_args(self.arm(tuple, list))
        if args[1:] in ((), (Ellipsis,)):
            args = args[:1] * (number + 1)
        return Kind(args[number], self.any) if number < len(args) else Kind()

    def at(self, key: str) -> "Kind":
        """The kind of a mapping's value under `key`."""
        for arm in self.arms():
            if isinstance(arm, type) and issubclass(arm, BaseModel):
                if (field := arm.model_fields.get(key)) is not None:
                    paths = next((note for note in field.metadata if isinstance(note, Paths)), None)
                    return Kind(field.annotation, self.any, paths)
                if (others := getattr(arm, "OTHERS", None)) is not None:
                    return Kind(others).along(key)
            if typing.get_origin(arm) is dict:
                any = Kind(self.paths.model).along(key).type if self.paths else self.any
                return Kind(typing.get_args(arm)[1], any)
        return Kind()

    def along(self, path: str) -> "Kind":
        """The kind at a dotted path; inside `Paths`, the rest of the path is one key."""
        if not path:
            return self
        key, dot, rest = path.partition(".")
        return self.at(path) if self.paths or not dot else self.at(key).along(rest)


def _members(kind: Any) -> list[Any]:
    """The members of a union type; otherwise the type itself."""
    if typing.get_origin(kind) is Annotated:
        return _members(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [member for arm in typing.get_args(kind) for member in _members(arm)]
    return [kind]


def read(text: bytes | str, kind: Kind) -> Any:
    """The content of a YAML document, read for this kind.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    try:
        return _read(QuickLoader(text), kind)
    except yaml.YAMLError:
        return _read(Loader(text), kind)  # which tells a fault with its line


def _read(loader: Loader, kind: Kind) -> Any:
    try:
        node = loader.get_single_node()
        return None if node is None else _value(loader, node, kind)
    except RecursionError as error:
        raise yaml.YAMLError("it holds itself (an alias inside of its anchor)") from error
    finally:
        loader.dispose()


def word(text: str, kind: Kind) -> Any:
    """A command-line word, read for this kind. Text may be quoted but need not be: YAML syntax in it has no meaning.

    Raises:
        yaml.YAMLError: the word is not for text and is not YAML.
    """
    items = kind.item(0)
    if not (kind.is_text or items.is_text):
        return read(text, kind)
    try:
        node = Loader(text).get_single_node()
    except yaml.YAMLError:
        node = None
    if not kind.is_text and isinstance(node, yaml.SequenceNode | yaml.MappingNode):
        return read(text, kind)
    if isinstance(node, yaml.ScalarNode) and (node.style in ("'", '"') or text.lstrip().startswith("!!")):
        return node.value
    return _text(text.strip(), kind if kind.is_text else items)


def _text(text: str, kind: Kind) -> str | None:
    """The text; an empty word is no text, and neither are YAML's words for null if the field may be None."""
    nothing = ("", "~", "null", "Null", "NULL") if types.NoneType in kind.arms() else ("",)
    return None if text in nothing else text


def _value(loader: Loader, node: yaml.Node, kind: Kind) -> Any:
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        pairs = [(_key(loader, key), value) for key, value in node.value]
        return {key: _value(loader, value, kind.at(key)) for key, value in pairs}
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, kind.item(number)) for number, item in enumerate(node.value)]
    one = kind.item(0) if kind.arm(tuple, list) is not None else kind  # a single item stands for a list of it
    if one.is_text and isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _text(node.value, one)
    return loader.construct_object(node, deep=True)


def _key(loader: Loader, node: yaml.Node) -> str:
    """The key as text, whatever it looks like."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=node.start_mark)
