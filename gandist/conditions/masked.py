"""Images with a hole: y is x without some of its pixels, and where they are missing."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from torch import Tensor

from gandist.conditions.floors import diffused, mean_colour
from gandist.conditions.holes import HOLES, Box, Hole, Strokes
from gandist.conditions.making import Group, Making
from gandist.conditions.named import as_mapping, from_mapping, name_of
from gandist.conditions.operation import picked
from gandist.errors import ConfigError
from gandist.gan.penalties import Noise

NamedHole = Annotated[
    Hole,
    BeforeValidator(lambda value: from_mapping(value, HOLES, "a kind of mask")),
    PlainSerializer(lambda hole: as_mapping(hole, HOLES)),
    WithJsonSchema({"type": "object", "minProperties": 1, "maxProperties": 1}),
]
"""A kind of hole, written as a mapping from its name to its options."""
KIND = "kind"


class Masks(Making):
    """y is x with a hole of a random kind, and the mask."""

    axes: ClassVar[int] = 3

    kinds: tuple[NamedHole, ...] = Field((Strokes(), Box()), min_length=1)
    """The kinds of holes, of which each image draws one by weight: mappings from a name in
    `gandist.conditions.holes.HOLES` to its options, such as `- box: {area: [0.1, 0.5], weight: 2}`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds as `mask_of` and `noise` know them: `0/strokes`, for a name may stand in the list twice."""
        return tuple(f"{position}/{name_of(hole, HOLES)}" for position, hole in enumerate(self.kinds))

    def noise(self) -> dict[str, Noise]:
        """The random numbers of `make`, by name."""

        def uniform(count: int) -> Noise:
            return Noise("uniform", lambda sample: (count,))

        kinds = zip(self.names, self.kinds, strict=True)
        return {KIND: uniform(1)} | {name: uniform(hole.uniforms()) for name, hole in kinds}

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y, for samples (C, H, W).

        Raises:
            ConfigError: the image has no room for a hole.
        """
        channels, height, width = sample
        if height * width < 2:
            raise ConfigError(
                f"kinds: an image of {height} x {width} pixels has no room for a hole beside known pixels"
            )
        return channels + 1, height, width

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """y of each image, a function of the image and its numbers alone.

        Args:
            x: (N, C, H, W) in [-1, 1].
            numbers: those that `noise` describes, (N, ...).

        Returns:
            (N, C + 1, H, W), float64 if x is, else float32: the image, 0 in the hole, and the mask, 1 in the hole and 0
            elsewhere. Every image has a hole and known pixels.
        """
        height, width = x.shape[2:]
        kind = self._kind(numbers)[:, None, None, None]
        mask = x.new_zeros(len(x), 1, height, width, dtype=torch.promote_types(x.dtype, torch.float32))
        for k, name in enumerate(self.names):
            mask = torch.where(kind == k, self.mask_of(name, numbers, height, width).to(mask.dtype), mask)
        return masked(x, mask)

    def groups(self, numbers: Mapping[str, Tensor]) -> Iterator[Group]:
        """The images with each kind of hole; strokes by their style."""
        kind = self._kind(numbers)
        for k, hole in enumerate(self.kinds):
            yield Group("mask", hole.called(name_of(hole, HOLES)), kind == k)

    def _kind(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """The position of each image's kind of hole in the list (N,)."""
        return picked(tuple(hole.weight for hole in self.kinds), numbers[KIND][:, 0].double())

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        """The image with its hole in grey."""
        return y[:, :-1]

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> dict[str, Tensor]:
        """The hole filled from the pixels around it, or with the image's mean colour."""
        return {"diffusion": diffused(y), "mean-colour": mean_colour(y)}

    def mask_of(self, kind: str, numbers: Mapping[str, Tensor], height: int, width: int) -> Tensor:
        """Masks of one kind, (N, 1, height, width) float32: 1 in the hole.

        Args:
            kind: one of `names`.
            numbers: those that `noise` describes; only those of this kind are used.
        """
        hole = self.kinds[self.names.index(kind)].hole(numbers[kind].double(), height, width)
        return _with_both(hole).float()[:, None]


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """y, (N, C + 1, H, W), of images x (N, C, H, W) and masks (N, 1, H, W), 1 in the hole."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.cat([torch.where(mask > 0, 0.0, x), mask.to(x.dtype)], 1)


def _with_both(hole: Tensor) -> Tensor:
    """A hole at the centre where there is none, and a known pixel in the corner where there is none."""
    height, width = hole.shape[1:]
    pixel = torch.arange(height * width, device=hole.device).view(height, width)
    centre, corner = pixel == height // 2 * width + width // 2, pixel == 0
    none, all = ~hole.flatten(1).any(1)[:, None, None], hole.flatten(1).all(1)[:, None, None]
    return (hole | (none & centre)) & ~(all & corner)
