"""Parts of all generators whose condition y is an image: to enlarge, to fill, to clean or to translate."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks.image_d import stacked
from gandist.gan.networks.norms import layout
from gandist.gan.networks.shape import Shape


def factor(shape: Shape) -> int:
    """How many times higher and wider than y the images are.

    Raises:
        ValueError: y is no image, or not smaller by a power of two.
    """
    if len(shape.y) != 3 or shape.y[1] != shape.y[2]:
        raise ValueError(f"the pair is conditioned on square images (C, H, W), not on {shape.y}")
    times, rest = divmod(shape.resolution, shape.y[1])
    if rest or times not in (1, 2, 4, 8):
        raise ValueError(f"images of {shape.resolution} pixels are not 1, 2, 4 or 8 times as large as {shape.y[1]}")
    if shape.masked and (times != 1 or shape.y[0] != shape.channels + 1):
        raise ValueError(f"a masked condition is ({shape.channels} + 1, H, W) at the images' size, not {shape.y}")
    return times


class FromImage(nn.Module):
    """z: (N, z_dim), y: (N, Cy, h, w) -> images (N, C, factor h, factor w).

    The noise z is repeated over the image, as z_dim channels beside y's; z_dim may be 0. Nothing random happens inside.
    If y has a mask, G keeps y's image outside of the hole, bit for bit.
    """

    def __init__(self, shape: Shape, residual: bool = False) -> None:
        """`residual`: add y's image, enlarged bicubically, to what `draw` gives. Grey stands for all channels."""
        super().__init__()
        self.factor, self.channels, self.masked, self.residual = factor(shape), shape.channels, shape.masked, residual
        self.inputs = shape.y[0] + shape.z_dim
        """Channels that `draw` takes."""
        if residual and 1 < shape.y[0] < shape.channels:
            raise ValueError(
                f"images of {shape.y[0]} channels cannot be added to those of {shape.channels}; "
                "set model.options.residual=false"
            )

    def draw(self, h: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, C, factor h, factor w)."""
        raise NotImplementedError

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images = self.draw(stacked(layout(y), [y, planes(z, y)]) if z.shape[1] else y)
        if self.residual:
            images = images + self._enlarged(y)
        if self.masked:
            images = torch.where(y[:, -1:] > 0.5, images, y[:, : self.channels])
        return images

    def _enlarged(self, y: Tensor) -> Tensor:
        image = y[:, : self.channels]
        if self.factor > 1:
            image = F.interpolate(image, scale_factor=float(self.factor), mode="bicubic")
        return image  # one channel broadcasts


def planes(z: Tensor, y: Tensor) -> Tensor:
    """z (N, z_dim) repeated over y's height and width, in y's type: (N, z_dim, h, w)."""
    return z.to(y.dtype)[:, :, None, None].expand(-1, -1, *y.shape[2:])
