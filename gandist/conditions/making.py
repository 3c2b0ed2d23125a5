"""What the makers of conditions that are samples have in common."""

from typing import ClassVar, Self

from gandist.media.medium import Medium
from gandist.options import Options


class Making(Options):
    """A maker of y from x (`gandist.conditions.sample.Maker`), whose fields are `condition.options`."""

    axes: ClassVar[int] = 0
    """Axes of the samples that it takes: 2 for sounds (C, T), 3 for pictures (C, H, W), 0 for any."""

    def fitted(self, medium: Medium) -> Self:
        """The maker for samples of this medium.

        Raises:
            ConfigError: an option does not fit the medium; the message names it.
        """
        return self
