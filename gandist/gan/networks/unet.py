"""pix2pix's U-Net generator (Isola et al. 2017, arXiv:1611.07004, appendix 6.1.1).

4x4 convolutions of stride 2 halve the resolution `levels` times; transposed ones double it again, each on the features
of its resolution from both sides. The channels are 1, 2, 4 and then 8 widths. LeakyReLU(0.2) on the way down, ReLU on
the way up, tanh. The first and the innermost features have no norm (one pixel would be its own mean). Weights are from
N(0, 0.02). At 256 pixels the paper has 8 levels at width 64: 54.4 M parameters.

The paper's noise is dropout, in training and after. Here nothing random may happen inside a network: z takes its place,
and with z_dim 0 an input has one output. If y is smaller than the images, nearest-neighbour upsampling comes first.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.dcgan import init_dcgan
from gandist.gan.networks.from_image import FromImage, factor
from gandist.gan.networks.image_d import ImageOptions
from gandist.gan.networks.norms import norm
from gandist.gan.networks.shape import Shape, options_of


class UNetOptions(ImageOptions):
    """Options of the pair."""

    levels: int = Field(0, ge=0, le=8)
    """Halvings of the resolution inside G; 0 to go down to 4x4."""


def levels(shape: Shape) -> int:
    """Halvings of the resolution."""
    return options_of(shape, UNetOptions).levels or shape.resolution.bit_length() - 3


def multiple(shape: Shape) -> int:
    """G takes y of any height and width that are multiples of this."""
    return max(1, (1 << levels(shape)) // factor(shape))


class Generator(FromImage):
    """z: (N, z_dim), y: (N, Cy, h, w) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError if the images cannot be halved so often."""
        super().__init__(shape)
        depth = levels(shape)
        if shape.resolution % 2**depth:
            raise ValueError(f"images of {shape.resolution} pixels are not halved {depth} times; lower options.levels")
        widths = [shape.width * min(2**k, 8) for k in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for k, (before, after) in enumerate(zip([self.inputs, *widths], widths, strict=False)):
            self.down.append(
                nn.Sequential(
                    nn.Conv2d(before, after, 4, 2, 1, bias=False),
                    norm(shape.norm if 0 < k < depth - 1 else "none", after),
                    nn.LeakyReLU(0.2, inplace=True),
                )
            )
        for k in range(depth - 1, 0, -1):
            joined = widths[k] * (1 if k == depth - 1 else 2)
            self.up.append(
                nn.Sequential(
                    nn.ConvTranspose2d(joined, widths[k - 1], 4, 2, 1, bias=False),
                    norm(shape.norm, widths[k - 1]),
                    nn.ReLU(inplace=True),
                )
            )
        self.image = nn.ConvTranspose2d(widths[0] * (2 if depth > 1 else 1), shape.channels, 4, 2, 1)
        self.apply(init_dcgan)
        nn.init.zeros_(self.image.bias)  # type: ignore[arg-type]

    def draw(self, h: Tensor) -> Tensor:
        if self.factor > 1:
            h = F.interpolate(h, scale_factor=float(self.factor))
        skips = []
        for layer in self.down:
            h = layer(h)
            skips.append(h)
        skips.pop()
        for layer in self.up:
            h = torch.cat([layer(h), skips.pop()], dim=1)
        return torch.tanh(self.image(h))
