"""A sample of a source, the source itself, and the items in it that cannot be used."""

import codecs
import operator
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from gandist.errors import DataError
from gandist.media.clip import Frames

MAX_CLASSES = 1 << 20
EXAMPLES = 3
LISTED_MAX = 100
"""Maximum number of broken samples in a message."""
HIDDEN, NO_EXTENSION = "hidden", "without extension"
"""Name under which files without an extension are counted."""
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks, which declare the encoding of a text."""


class Sample(NamedTuple):
    """One image, sound or clip: encoded bytes, or uint8 pixels (H, W) or (H, W, 3), or a clip's pictures; its label
    (-1: none) and caption. In a pair it is the target, and `input` is the picture that it is made from."""

    image: bytes | np.ndarray | Frames
    label: int
    caption: str | None
    input: bytes | np.ndarray | None = None


class Broken(NamedTuple):
    """A sample that cannot be used: its place, and the fault."""

    where: str
    why: str


class LeftOut:
    """Items of a source that do not become a sample, or only part of one. Threads may add to it.

    Attributes:
        lost: number of labels, captions and names that were found but not used, by reason.
        examples: the first few of them, by reason.
        skipped: number of files and members that were not opened, by extension.
        broken: samples that cannot be used.
        fitted: number of written samples by what was done to them, such as "longer than 1 s and cut".
        medium: what the samples are, a key of `media.formats.FORMATS`, if that does not follow from the files.
    """

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.skipped: Counter[str] = Counter()
        self.broken: list[Broken] = []
        self.fitted: Counter[str] = Counter()
        self.medium: str | None = None
        self._lock = threading.Lock()

    def note(self, reason: str, names: Iterable[object]) -> None:
        """Count `names` as lost for `reason`."""
        for name in names:
            with self._lock:
                self.lost[reason] += 1
                shown = self.examples.setdefault(reason, [])
                if len(shown) < EXAMPLES:
                    shown.append(str(name))

    def skip(self, names: Iterable[str]) -> None:
        """Count files by their extension; hidden files separately."""
        for path in names:
            name = path.rpartition("/")[2]
            self.skipped[HIDDEN if name.startswith(".") else PurePosixPath(name).suffix.lower() or NO_EXTENSION] += 1

    def fit(self, how: Iterable[str]) -> None:
        """Count what was done to written samples."""
        with self._lock:
            self.fitted.update(how)

    def add(self, more: "LeftOut") -> None:
        """Add the counts of `more`."""
        for reason, n in more.lost.items():
            self.lost[reason] += n
            shown = self.examples.setdefault(reason, [])
            shown += more.examples[reason][: EXAMPLES - len(shown)]
        self.skipped += more.skipped
        self.broken += more.broken

    def lines(self) -> dict[str, str]:
        """A line per reason, such as "3 labels of dataset.json match no image (a.png, b.png, c.png)"."""
        return {
            reason: f"{n} {reason} ({', '.join(self.examples[reason])}{', ...' if n > EXAMPLES else ''})"
            for reason, n in self.lost.items()
        }


def counts(numbers: Mapping[str, int]) -> str:
    """The counts, largest first: "12 .json, 1 .db"."""
    return ", ".join(f"{n:,} {what}" for what, n in sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Source:
    """`n` samples: `read(i)` returns sample i, `name(i)` its origin for messages.

    `left_out` holds the other items of the source. `read` adds to it, and raises ValueError for a broken sample.
    `key(i)` is the name by which sample i finds its partner in another source (None if its samples have no names);
    `paired` says whether the samples are pairs, `medium` what they are: a key of `media.formats.FORMATS`.
    """

    n: int
    read: Callable[[int], Sample]
    name: Callable[[int], str]
    class_names: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    key: Callable[[int], str] | None = None
    paired: bool = False
    medium: str = "image"


def class_number(value: Any, where: str) -> int:
    """`value` as a label, -1 for none.

    Raises:
        DataError: it is not an integer from -1 to `MAX_CLASSES` - 1; the message begins with `where`.
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


def caption_of(content: bytes, where: str, left_out: LeftOut) -> str | None:
    """The text of a caption in UTF-8, or as its byte order mark declares; None, and noted, in any other encoding."""
    encoding = next((name for mark, name in BOMS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        left_out.note("captions are not UTF-8 text", [where])
        return None
