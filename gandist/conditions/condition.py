"""The interface of conditions, and the empty condition."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.randomness import Draws
from gandist.errors import ConfigError
from gandist.gan.penalties import Noise

Kind = Literal["none", "class", "text", "sample"]
Pairing = Literal["independent", "same_sample"]
"""Whether fakes get a condition of their own, or that of the real sample beside them."""


class Described(Protocol):
    """The part of a set's index that conditions use."""

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
    @property
    def paired(self) -> bool: ...


class Wish(NamedTuple):
    """The condition that a command requests; all None requests any."""

    label: int | None = None
    """`--class`."""
    caption: str | None = None
    """`--caption`."""


class Written(NamedTuple):
    """The description of a condition to write beside samples: None for fields that do not apply."""

    labels: list[int] | None = None
    captions: list[str] | None = None


class Condition(Protocol):
    """The condition of G. y is the condition of N samples (N, ...) on the device, None without a condition.

    A set's conditions are stored on the host, one row per sample (n, ...), and sent to the device batch by batch.
    """

    kind: ClassVar[Kind]
    key: ClassVar[str]
    """Configuration field that sets it."""
    pairing: ClassVar[Pairing]

    @property
    def count(self) -> int:
        """Number of different conditions; 0 if they cannot be counted."""

    def check(self, index: Described, data: str, index_command: str) -> None:
        """Refuse a set without this condition.

        Args:
            data: start of the message, which names the set.
            index_command: the command that rewrites the index of the set.

        Raises:
            DataError: naming the field and the fix.
        """

    def warnings(self, index: Described, data: str, batch: int) -> list[str]:
        """Warnings about a set that is allowed but known to fail."""

    def stored(self, index: Described) -> np.ndarray:
        """The conditions of all samples of a set (n, ...); their labels if there is no condition."""

    def to_network(self, stored: Tensor, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """Stored conditions (N, ...), on the device, as y: classes stay integers."""

    def noise(self) -> Mapping[str, Noise]:
        """The random numbers that `of_reals` takes for each sample, by name."""

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of y without N if y is made of samples of this shape; else ()."""

    def of_reals(
        self, x: Tensor, stored: Tensor, numbers: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        """Real samples x (N, ...) as D sees them, and their y.

        Args:
            stored: their stored conditions (N, ...), on the device.
            numbers: (N, ...) for each name in `noise`.
        """

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: Tensor, sub: int, batch: int, stored: Tensor
    ) -> Tensor | None:
        """This rank's share of the conditions of a global batch of fakes, drawn independently of the real samples: in
        stored form, on the device."""

    def of_samples(self, seed: int, rows: int, columns: int, stored: np.ndarray) -> Tensor | None:
        """Conditions (rows * columns, ...) of a run's grid of samples, one per row; in stored form, on the CPU."""

    def captions_of_samples(self, seed: int, rows: int, index: Described) -> list[str]:
        """The captions of these rows; empty if they have none."""

    def encoder(self, index: Described) -> str:
        """The encoder that made the condition's vectors; empty if it has none."""

    def labels(self, stored: np.ndarray) -> np.ndarray | None:
        """The classes (N,) of stored conditions; None if they are not classes."""

    def any(self, n: int, generator: np.random.Generator, index: Callable[[], Described]) -> np.ndarray | None:
        """Random conditions (n, ...) in stored form; opens the set's index only if needed.

        Raises:
            DataError: the index is needed and cannot be read.
        """

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        """The condition that a command requests, n times, in stored form.

        Args:
            trained_encoder: the encoder of the captions that G was trained on.

        Raises:
            ConfigError: G has another kind of condition; the message names the option.
        """

    def written(self, y: Tensor, captions: Callable[[], list[str]]) -> Written:
        """The description to write beside samples of these conditions; `captions` are those that y was drawn from."""

    def titles(self, y: Tensor) -> list[str]:
        """Names of these conditions, to show with samples, if they have names."""

    def between(self) -> bool:
        """Whether conditions can be interpolated."""

    def made_up(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """n artificial conditions in stored form, independent of any set: for benchmarks and summaries."""

    def example(self) -> str:
        """An option of `gandist.sample` that requests a condition; empty if there is none."""


class Nothing:
    """The empty condition: G makes samples from its latents alone."""

    kind: ClassVar[Kind] = "none"
    key: ClassVar[str] = "model.classes"
    pairing: ClassVar[Pairing] = "independent"

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

    def noise(self) -> Mapping[str, Noise]:
        return {}

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return ()

    def of_reals(
        self, x: Tensor, stored: Tensor, numbers: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        return x, self.to_network(stored, dtype)

    def of_fakes(
        self, draws: Draws, purpose: str, images_seen: Tensor, sub: int, batch: int, stored: Tensor
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
            raise ConfigError(
                f"--class {wish.label}: the run was trained without classes (model.classes); leave it out"
            )
        if wish.caption is not None:
            raise ConfigError("--caption: the run was trained without captions (model.text_dim); leave it out")
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
