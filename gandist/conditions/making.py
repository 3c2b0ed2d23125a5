"""Parts that all makers of conditions that are samples share."""

from typing import ClassVar, Self

from gandist.media.medium import Medium
from gandist.options import Options


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
