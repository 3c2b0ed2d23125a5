"""The result of packing: samples, classes, captions, and skipped items, for people and for programs."""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from gandist.data.index import Index
from gandist.data.samples import LeftOut, counts
from gandist.media.formats import FORMATS, noun_of
from gandist.storage.remote import printable

NAMED = 3
"""Maximum number of empty classes in a message."""


@dataclass(frozen=True)
class ClassCount:
    """A class and its number of samples."""

    name: str
    images: int


@dataclass(frozen=True)
class Report:
    """The contents of a packed or indexed set, and what was left out of it.

    Attributes:
        dest: folder or URL of the index.
        paired: whether each of the images has an input: they are the targets of pairs.
        classes: largest label + 1; 0 for a set without labels.
        least, most: the classes with the fewest and the most samples, among classes that have any.
        empty_classes: number of classes without samples.
        empty_examples: the names of the first few empty classes.
        unlabelled: samples without a label, in a set with labels.
        captions: samples with a caption.
        bytes: total size of all shards.
        lost: labels, captions and names that were found but not used, by reason.
        skipped: files and members of other kinds, by extension.
        broken: samples that were left out because they cannot be used, by reason.
        fitted: samples by what was done to them, such as "longer than 1 s and cut".
        noun: what a sample is called: "image", "sound", "clip" or "text".
        characters: different ones, in a set of texts; 0 in others.
    """

    dest: str
    paired: bool
    images: int
    classes: int
    least: ClassCount | None
    most: ClassCount | None
    empty_classes: int
    empty_examples: list[str]
    unlabelled: int
    captions: int
    shards: int
    bytes: int
    lost: dict[str, int]
    skipped: dict[str, int]
    broken: dict[str, int]
    fitted: dict[str, int]
    noun: str
    characters: int = 0

    def as_json(self) -> dict[str, Any]:
        """The report as an object for `json.dumps`."""
        return asdict(self)

    def __str__(self) -> str:
        left_out = f", {sum(self.broken.values())} broken {self.noun}s left out" if self.broken else ""
        what = "pairs" if self.paired else f"{self.noun}s"
        lines = [
            f"{self.dest}: {self.images} {what}, {self.classes} classes, {self.shards} shards, "
            f"{self.bytes / 1e6:.1f} MB{left_out}"
        ]
        if self.least is not None and self.most is not None:
            least, most = (f"{each.images:,} ({each.name})" for each in (self.least, self.most))
            line = f"{self.noun}s a class: least {least}, most {most}"
            if self.empty_classes:
                more = ", ..." if self.empty_classes > len(self.empty_examples) else ""
                line += f"; {self.empty_classes:,} without any ({', '.join(self.empty_examples)}{more})"
            lines.append(line)
        if self.unlabelled:
            lines.append(f"labels: {self.unlabelled:,} of {self.images:,} {self.noun}s have none")
        if self.captions:
            lines.append(f"captions: {self.captions:,} of {self.images:,} {self.noun}s have one")
        if self.characters:
            lines.append(f"alphabet: {self.characters:,} characters")
        if self.fitted:
            lines.append(f"of {self.images:,} {self.noun}s: {counts(self.fitted)}")
        for what, numbers in (("not taken", self.lost), ("skipped", self.skipped), ("broken", self.broken)):
            if numbers:
                lines.append(f"{what}: {counts(numbers)}")
        return "\n".join(lines)


def report(index: Index, left_out: LeftOut) -> Report:
    """The report on `index` and on the items of its source that it left out."""
    numbers, images = np.unique(index.labels[index.labels >= 0], return_counts=True)
    present = set(numbers.tolist())

    def named(number: int) -> str:
        return printable(index.class_names[number]) if number < len(index.class_names) else f"class {number}"

    def count(i: int) -> ClassCount:
        return ClassCount(named(int(numbers[i])), int(images[i]))

    missing = [number for number in range(min(index.classes, len(numbers) + NAMED)) if number not in present]
    return Report(
        dest=index.base,
        paired=index.paired,
        images=index.n,
        classes=index.classes,
        least=count(int(images.argmin())) if len(numbers) else None,
        most=count(int(images.argmax())) if len(numbers) else None,
        empty_classes=index.classes - len(numbers),
        empty_examples=[named(number) for number in missing[:NAMED]],
        unlabelled=int((index.labels < 0).sum()) if len(numbers) else 0,
        captions=index.n - int(pc.sum(pc.is_null(index.samples["caption"])).as_py() or 0),
        shards=index.shards.num_rows,
        bytes=int(pc.sum(index.shards["bytes"]).as_py()),
        lost=dict(left_out.lost),
        skipped=dict(left_out.skipped),
        # Within a reason, samples differ in numbers only.
        broken=dict(Counter(re.sub(r"\b\d+\b", "N", each.why) for each in left_out.broken)),
        fitted=dict(left_out.fitted),
        noun=noun_of(index.extensions) if left_out.medium is None else FORMATS[left_out.medium].noun,
        characters=len(index.symbols),
    )
