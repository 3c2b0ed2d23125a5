"""The interface of conditions, and the condition that is none."""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.randomness import Draws
from gandist.errors import ConfigError

Kind = Literal["none", "class", "text"]


class Described(Protocol):
    """What the index of a set says of its samples."""

    @property
    def base(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def classes(self) -> int: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def captions(self) -> list[str | None]: ...
    @property
    def text_dim(self) -> int: ...
    @property
    def vectors(self) -> np.ndarray | None: ...
    @property
    def encoder(self) -> str: ...


class Wish(NamedTuple):
    """The condition that a command asks for; all None: any."""

    label: int | None = None
    """`--class`."""
    caption: str | None = None
    """`--caption`."""


class Written(NamedTuple):
    """What is written beside samples to say what they were made to: None where there is nothing of the kind."""

    labels: list[int] | None = None
    captions: list[str] | None = None


class Condition(Protocol):
    """What G is told. y is the condition of N samples (N, ...) on the device, None where G is told nothing.

    A set's conditions are stored on the host, a row a sample (n, ...), and sent to the device batch by batch.
    """

    kind: ClassVar[Kind]
    key: ClassVar[str]
    """The field of the configuration that sets it."""

    @property
    def count(self) -> int:
        """How many different conditions there are; 0 where they cannot be counted."""

    def check(self, index: Described, data: str, index_command: str) -> None:
        """Refuse a set that does not have this condition.

        Args:
            data: how a message begins, naming the set.
            index_command: the command that writes the index of the set again.

        Raises:
            DataError: naming the field and the fix.
        """

    def warnings(self, index: Described, data: str, batch: int) -> list[str]:
        """What is allowed, but is known to go wrong with a set."""

    def stored(self, index: Described) -> np.ndarray:
        """The conditions of all samples of a set (n, ...); their labels where there is no condition."""

    def to_network(self, stored: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """Stored conditions (N, ...), on the device, as y: classes stay whole numbers."""

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: int, sub: int, batch: int, stored: np.ndarray
    ) -> Tensor | None:
        """This rank's share of the conditions of a global batch of fakes, drawn independently of the real samples, as
        they are stored but on the device."""

    def of_samples(self, seed: int, rows: int, columns: int, stored: np.ndarray) -> Tensor | None:
        """Conditions (rows * columns, ...) of the samples that a run shows, one a row; as they are stored, on the
        CPU."""

    def captions_of_samples(self, seed: int, rows: int, index: Described) -> list[str]:
        """The captions of these rows; none where they have none."""

    def encoder(self, index: Described) -> str:
        """What made the vectors that it consists of; empty where nothing did."""

    def labels(self, stored: np.ndarray) -> np.ndarray | None:
        """The classes (N,) of stored conditions; None where they are no classes."""

    def any(self, n: int, generator: np.random.Generator, index: Callable[[], Described]) -> np.ndarray | None:
        """Conditions (n, ...) drawn at random, as they are stored; the set's index is opened where it is needed.

        Raises:
            DataError: it is needed, and cannot be read.
        """

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        """The condition that a command asks for, n times, as it is stored.

        Args:
            trained_encoder: what embedded the captions that G was trained on.

        Raises:
            ConfigError: G is not told of that kind; the message names the option.
        """

    def written(self, y: Tensor, captions: Callable[[], list[str]]) -> Written:
        """What goes beside samples of these conditions; `captions` are those that y was drawn from."""

    def titles(self, y: Tensor) -> list[str]:
        """What samples of these conditions show, where that has names."""

    def between(self) -> bool:
        """Whether there is something between two conditions, for an interpolation."""

    def made_up(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """n conditions as they are stored, of no set: for benchmarks and summaries."""

    def example(self) -> str:
        """An option of `gandist.sample` that asks for one; empty where there is none to name."""


class Nothing:
    """G makes of its latents what it will."""

    kind: ClassVar[Kind] = "none"
    key: ClassVar[str] = "model.classes"

    @property
    def count(self) -> int:
        return 0

    def check(self, index: Described, data: str, index_command: str) -> None:
        pass

    def warnings(self, index: Described, data: str, batch: int) -> list[str]:
        return []

    def stored(self, index: Described) -> np.ndarray:
        return index.labels

    def to_network(self, stored: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        return None

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: int, sub: int, batch: int, stored: np.ndarray
    ) -> Tensor | None:
        return None

    def of_samples(self, seed: int, rows: int, columns: int, stored: np.ndarray) -> Tensor | None:
        return None

    def captions_of_samples(self, seed: int, rows: int, index: Described) -> list[str]:
        return []

    def encoder(self, index: Described) -> str:
        return ""

    def labels(self, stored: np.ndarray) -> np.ndarray | None:
        return None

    def any(self, n: int, generator: np.random.Generator, index: Callable[[], Described]) -> np.ndarray | None:
        return None

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        if wish.label is not None:
            raise ConfigError(f"--class {wish.label}: the run has none")
        if wish.caption is not None:
            raise ConfigError("--caption: the run was trained without captions (model.text_dim)")
        return None

    def written(self, y: Tensor, captions: Callable[[], list[str]]) -> Written:
        return Written()

    def titles(self, y: Tensor) -> list[str]:
        return []

    def between(self) -> bool:
        return True

    def made_up(self, n: int, generator: np.random.Generator) -> np.ndarray:
        return np.zeros(n, np.int64)

    def example(self) -> str:
        return ""
