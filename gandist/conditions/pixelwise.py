"""Operations that treat each pixel on its own: noise, grey, fewer levels."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gandist.conditions.operation import (
    WHITE,
    Operation,
    Range,
    Strength,
    drawn,
    drawn_whole,
    grey_of,
    per_image,
    to_whole,
    within,
)
from gandist.gan.penalties import Noise


class _Noisy(Operation):
    """What kinds of noise share."""

    grey: float = Field(0.0, ge=0, le=1)
    """Probability that all channels of an image share their noise."""

    def uniforms(self) -> int:
        return 2

    def further(self) -> dict[str, Noise]:
        return {"normal": Noise("normal", lambda sample: sample)}

    def _is_grey(self, u: Tensor) -> Tensor:
        return (u < self.grey)[:, None, None, None]


class Gaussian(_Noisy):
    """Gaussian noise, equally strong everywhere."""

    strength: ClassVar = Strength("sigma", 0)

    sigma: Annotated[Range, within(0, 255)] = (1.0, 30.0)
    """Standard deviation in levels of 255."""

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        z = further["normal"]
        z = torch.where(self._is_grey(u[:, 1]), z[:, :1], z)
        return levels + per_image(drawn(self.sigma, u[:, 0]), levels) * z


class Poisson(_Noisy):
    """Shot noise: the difference between a level and a Poisson count of that mean, times a scale (Wang et al. 2021,
    section 3.3).

    The count is the Poisson quantile of a normal number by the first terms of its Cornish-Fisher expansion, which is
    off by one now and then.
    """

    strength: ClassVar = Strength("scale", 0)

    scale: Annotated[Range, within(0, 100)] = (0.05, 3.0)
    """Factor of the noise; at 1 its standard deviation is the root of the level."""

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        z = further["normal"]
        added = poisson(levels, z) - levels
        if self.grey > 0:
            grey = grey_of(levels)
            added = torch.where(self._is_grey(u[:, 1]), poisson(grey, z[:, :1]) - grey, added)
        return levels + per_image(drawn(self.scale, u[:, 0]), levels) * added


def poisson(mean: Tensor, z: Tensor) -> Tensor:
    """Counts of these means from normal numbers."""
    return torch.where(mean > 0, to_whole(mean + mean.sqrt() * z + (z.square() - 1) / 6).clamp(min=0), 0.0)


class Grey(Operation):
    """Luma in all channels."""

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return grey_of(levels).expand_as(levels)


class Quantise(Operation):
    """Fewer levels for each channel, equally far apart, black and white among them."""

    strength: ClassVar = Strength("levels", 0)

    levels: Annotated[Range, within(2, 256)] = (4.0, 32.0)
    """How many levels: whole numbers from 2 to 256."""

    def uniforms(self) -> int:
        return 1

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        last = per_image(drawn_whole(self.levels, u[:, 0]), levels) - 1
        return to_whole(levels / WHITE * last) / last * WHITE
