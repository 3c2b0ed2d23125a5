"""Parts that all makers of conditions that are samples share."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple, Self

from torch import Tensor

from gandist.media.medium import Medium
from gandist.options import Options


class Group(NamedTuple):
    """Samples whose conditions were made in the same way, to be measured on their own."""

    by: str
    """What groups differ in, such as `mask`."""
    name: str
    members: Tensor
    """Whether each sample belongs to it, (N,) bool."""


class Making(Options):
    """A maker of y from x (`gandist.conditions.sample.Maker`), whose fields are `condition.options`."""

    axes: ClassVar[int] = 0
    """Axes of the samples' rows: 1 for texts, 2 for sounds, 3 for pictures, 0 for any samples."""

    def fitted(self, medium: Medium) -> Self:
        """The maker for samples of this medium.

        Raises:
            ConfigError: an option does not fit the medium; the message names it.
        """
        return self

    def groups(self, numbers: Mapping[str, Tensor]) -> Iterator[Group]:
        """The groups of samples with these numbers, the uniform ones of `noise`. A sample may be in several groups;
        groups of the same name are one."""
        yield from ()
