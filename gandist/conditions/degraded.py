"""Degraded images: y is what a bad camera, a thumbnail or a small file would leave of x."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gandist.conditions.floors import upscaled
from gandist.conditions.making import Group, Making
from gandist.conditions.operation import WHITE, to_whole, under
from gandist.conditions.operations import Named, groups_of, noise_of, run_in_turn, run_shuffled
from gandist.conditions.resampling import resized
from gandist.errors import ConfigError
from gandist.gan.penalties import Noise

ORDER, FINISH = "order", "finish"


class Degradation(Making):
    """y is x after a chain of random operations, made smaller, after further operations."""

    axes: ClassVar[int] = 3

    scale: Literal[1, 2, 4, 8] = 1
    """How many times smaller than x y is, along each axis."""
    filter: Literal["bicubic", "area", "nearest"] = "bicubic"
    """Filter that makes y smaller, after `operations`; `bicubic` is antialiased, as Pillow's is."""
    operations: tuple[Named, ...] = ()
    """What is done to the image first, in this order: mappings from a name in
    `gandist.conditions.operations.OPERATIONS` to its options, such as `- blur: {sigma: [0.2, 3], p: 0.8}`."""
    shuffle: bool = False
    """Do the operations in a random order, drawn for each image (Zhang et al. 2021, arXiv:2103.14006). K operations
    then cost as much as K^2; `shuffled` shuffles some of them."""
    finish: tuple[Named, ...] = ()
    """What is done to the smaller image, in this order: noise and JPEG blocks as coarse as y's own pixels."""
    rounded: bool = True
    """Round y to whole levels of 8 bits, as a stored file has them."""

    def noise(self) -> dict[str, Noise]:
        """The random numbers of `make`, by name: below each operation's position and name (`0/blur/uniform`;
        `finish/0/jpeg/uniform`)."""
        count = len(self.operations)
        order = {ORDER: Noise("uniform", lambda sample: (count,))} if self.shuffle and count else {}
        of_finish = {f"{FINISH}/{name}": self._at_y(noise) for name, noise in noise_of(self.finish).items()}
        return order | noise_of(self.operations) | of_finish

    def _at_y(self, noise: Noise) -> Noise:
        """Numbers for images of y's size."""
        return noise._replace(shape=lambda sample: noise.shape(self.shape(sample)))

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y, for samples (C, H, W).

        Raises:
            ConfigError: the scale does not divide the image.
        """
        channels, height, width = sample
        if height % self.scale or width % self.scale:
            raise ConfigError(f"scale: {self.scale} does not divide {height} x {width} pixels; choose another scale")
        return channels, height // self.scale, width // self.scale

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """y of each image, a function of the image and its numbers alone.

        Args:
            x: (N, C, H, W) in [-1, 1].
            numbers: those that `noise` describes, (N, ...).

        Returns:
            (N, C, H / scale, W / scale) in [-1, 1]: float64 if x is, else float32, also inside autocast.
        """
        with torch.autocast(x.device.type, enabled=False):
            levels = (x.to(torch.promote_types(x.dtype, torch.float32)) + 1) * (WHITE / 2)
            levels = levels.contiguous().clamp(0, WHITE)
            if self.shuffle and self.operations:
                levels = run_shuffled(self.operations, levels, numbers, numbers[ORDER])
            else:
                levels = run_in_turn(self.operations, levels, numbers)
            if self.scale > 1:
                _, height, width = self.shape(tuple(x.shape[1:]))
                levels = resized(levels, height, width, self.filter)
            levels = run_in_turn(self.finish, levels.clamp(0, WHITE), under(FINISH, numbers))
            return (to_whole(levels) if self.rounded else levels) / (WHITE / 2) - 1

    def groups(self, numbers: Mapping[str, Tensor]) -> Iterator[Group]:
        """The images that each operation changes, those of `finish` too, and how strongly."""
        yield from groups_of(self.operations, numbers)
        yield from groups_of(self.finish, under(FINISH, numbers))

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        """y enlarged to samples (N, *sample) as it is: each pixel a square."""
        return upscaled(y, self.scale, "nearest")

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> dict[str, Tensor]:
        """y enlarged by filters that know nothing of images; y itself if it has their size."""
        if self.scale == 1:
            return {"input": y}
        return {"bicubic": upscaled(y, self.scale, "bicubic"), "nearest": upscaled(y, self.scale, "nearest")}
