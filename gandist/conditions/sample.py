"""The condition is itself a sample: a degraded or masked copy of the real one, or the other picture of its pair.

Each fake gets the condition of the real sample beside it, so that both can be compared.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.condition import Described, Kind, Nothing, Pairing, Wish
from gandist.conditions.making import Group
from gandist.errors import ConfigError, DataError
from gandist.gan.penalties import Noise
from gandist.media.medium import Medium


class Maker(Protocol):
    """Makes y of samples x (N, C, H, W) or (N, C, T) in [-1, 1], on their device, inside the step."""

    axes: ClassVar[int]
    """Axes of the rows of the samples that it takes; 0 for any."""

    def fitted(self, medium: Medium) -> Self:
        """The maker for samples of this medium."""

    def noise(self) -> Mapping[str, Noise]:
        """The random numbers that `make` takes for each sample, by name."""

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of y without N, for samples of this shape."""

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """y (N, *shape)."""

    def groups(self, numbers: Mapping[str, Tensor]) -> Iterable[Group]:
        """The groups of samples with these numbers, the uniform ones of `noise`."""

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        """y in the form of samples (N, *sample), to be looked at."""

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> Mapping[str, Tensor]:
        """What needs no learning to come from y to samples (N, *sample), by name; the best first."""


class OfSample(Nothing):
    """y is made from the sample x itself."""

    kind: ClassVar[Kind] = "sample"
    key: ClassVar[str] = "condition.kind"
    pairing: ClassVar[Pairing] = "same_sample"

    def __init__(self, maker: Maker, masked: bool = False) -> None:
        """`masked`: the last channel of y is a mask, 1 in the hole that G fills."""
        self.maker, self.masked = maker, masked

    def noise(self) -> Mapping[str, Noise]:
        return self.maker.noise()

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return self.maker.shape(sample)

    def of_reals(
        self, x: Tensor, stored: Tensor, numbers: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        return x, self.maker.make(x, numbers).to(dtype)

    def asked(self, wish: Wish, n: int, trained_encoder: str) -> np.ndarray | None:
        if wish.label is not None or wish.caption is not None:
            raise ConfigError("--class, --caption: the run is conditioned on pictures; give them to gandist.apply")
        return None

    def between(self) -> bool:
        return False


class OfPair(OfSample):
    """y is the other picture of a stored pair."""

    def of_reals(
        self, x: Tensor, stored: Tensor, numbers: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        """x: (N, 2, *sample), the target first."""
        target, given = x.unbind(1)
        return target, given.to(dtype)

    def check(self, index: Described, data: str, index_command: str) -> None:
        if not index.paired:
            raise DataError(
                f"{data}: holds no pairs, which condition.kind=paired needs; pack some: python -m gandist.pack --pairs "
                "INPUTS TARGETS DEST"
            )
