"""A sample of a source, the source itself, and what was found in it and could not be used."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gandist.errors import DataError

MAX_CLASSES = 1 << 20
EXAMPLES = 3


class Sample(NamedTuple):
    """One image: encoded bytes, or uint8 pixels (H, W) or (H, W, 3); its label (-1: none) and caption."""

    image: bytes | np.ndarray
    label: int
    caption: str | None


class Unmatched(Counter[str]):
    """Labels, captions and names that were found and not taken: reason -> how many.

    Attributes:
        examples: reason -> the first few of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, list[str]] = {}

    def note(self, reason: str, names: Iterable[object]) -> None:
        """Count `names` under `reason`."""
        for name in names:
            self[reason] += 1
            shown = self.examples.setdefault(reason, [])
            if len(shown) < EXAMPLES:
                shown.append(str(name))

    def add(self, more: "Unmatched") -> None:
        """Take over the counts of `more`."""
        for reason, n in more.items():
            self[reason] += n
            shown = self.examples.setdefault(reason, [])
            shown += more.examples[reason][: EXAMPLES - len(shown)]

    def lines(self) -> list[str]:
        """A line for each reason: "3 labels of dataset.json match no image (a.png, b.png, c.png)"."""
        return [
            f"{n} {reason} ({', '.join(self.examples[reason])}{', ...' if n > EXAMPLES else ''})"
            for reason, n in self.items()
        ]


@dataclass(frozen=True)
class Source:
    """`n` samples: `read(i)` gives the i-th, `name(i)` says where it came from, for messages.

    `unmatched` has what the source holds beside them and could not be used; it is complete before the first `read`.
    """

    n: int
    read: Callable[[int], Sample]
    name: Callable[[int], str]
    class_names: tuple[str, ...] = ()
    unmatched: Unmatched = field(default_factory=Unmatched)


def class_number(value: Any, where: str) -> int:
    """`value` as a label, -1 for none.

    Raises:
        DataError: it is no integer, or none of -1 to `MAX_CLASSES` - 1; the message begins with `where`.
    """
    try:
        label = operator.index(value)
    except TypeError:
        label = MAX_CLASSES
    if not -1 <= label < MAX_CLASSES:
        raise DataError(
            f"{where}: its label is {value!r}, which is not a class number; write one of 0 to {MAX_CLASSES - 1} "
            "(-1: none), or pass --labels none"
        )
    return label
