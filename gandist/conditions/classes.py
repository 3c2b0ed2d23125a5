"""The condition is a class, the label of a sample."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.condition import Described, Kind, Nothing, Wish, Written
from gandist.distributed.randomness import Draws
from gandist.errors import ConfigError, DataError
from gandist.storage.remote import printable


class Classes(Nothing):
    """y is (N,) int64."""

    kind: ClassVar[Kind] = "class"
    key: ClassVar[str] = "model.classes"

    def __init__(self, classes: int) -> None:
        self.classes = classes

    @property
    def count(self) -> int:
        return self.classes

    def check(self, index: Described, data: str, index_command: str) -> None:
        if index.classes != self.classes:
            present = len(np.unique(index.labels[index.labels >= 0]))
            costly = (
                f", which gives a row of weights also to the {index.classes - present} classes without images; or pack "
                f"the images with labels from 0 to {present - 1}"
            )
            raise DataError(
                f"{data}: its labels make {index.classes} classes, the network has model.classes={self.classes}; "
                f"set model.classes={index.classes}{costly if index.classes > index.n else ''}"
            )
        if index.labels.min() < 0:
            raise DataError(f"{data}: some images have no label; label them, or set model.classes=0")

    def warnings(self, index: Described, data: str, batch: int) -> list[str]:
        """Warns of classes without images, and of classes with fewer images than an average batch draws of each."""
        counts = np.bincount(index.labels[index.labels >= 0], minlength=self.classes)
        rows = batch / self.classes
        found = []
        if empty := np.flatnonzero(counts == 0).tolist():
            found.append(
                f"{data}: {len(empty)} of {self.classes} classes {'have' if len(empty) > 1 else 'has'} no images "
                f"({_named(empty, index)}), and what G draws of them means nothing; pack images with labels from 0 to "
                f"{self.classes - len(empty) - 1}"
            )
        if few := np.flatnonzero((counts > 0) & (counts < rows)).tolist():
            found.append(
                f"{data}: {len(few)} of {self.classes} classes {'have' if len(few) > 1 else 'has'} fewer images than a "
                f"batch draws of a class, {rows:.0f} ({_named(few, index, counts)}); G may learn them by heart: pack "
                "more of them"
            )
        return found

    def to_network(self, stored: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        return stored

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: Tensor, sub: int, batch: int, stored: Tensor
    ) -> Tensor | None:
        """All classes are equally likely."""
        return draws.numbers(purpose, images_seen, sub, batch, self.classes)

    def of_samples(self, seed: int, rows: int, columns: int, stored: np.ndarray) -> Tensor | None:
        """The first classes, one per row."""
        return torch.arange(rows).repeat_interleave(columns)

    def labels(self, stored: np.ndarray) -> np.ndarray | None:
        return stored

    def any(self, n: int, generator: np.random.Generator, index: Callable[[], Described]) -> np.ndarray | None:
        return generator.integers(self.classes, size=n)

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        if wish.label is None:
            return super().asked(wish, n, trained_encoder)
        if wish.label >= self.classes:
            raise ConfigError(f"--class {wish.label}: the run has classes 0 to {self.classes - 1}")
        return np.full(n, wish.label, np.int64)

    def written(self, y: Tensor, captions: Callable[[], list[str]]) -> Written:
        return Written(labels=y.tolist())

    def titles(self, y: Tensor) -> list[str]:
        return [f"class {label}" for label in y.tolist()]

    def between(self) -> bool:
        return False

    def made_up(self, n: int, generator: np.random.Generator) -> np.ndarray:
        return np.arange(n) % self.classes

    def example(self) -> str:
        return f"--class {self.classes - 1}"


def _named(classes: list[int], index: Described, counts: np.ndarray | None = None) -> str:
    """The first few of `classes`, with their counts."""
    names = [printable(index.class_names[k]) if k < len(index.class_names) else f"class {k}" for k in classes[:3]]
    if counts is not None:
        names = [f"{name}: {counts[k]}" for name, k in zip(names, classes, strict=False)]
    return ", ".join(names) + (", ..." if len(classes) > 3 else "")
