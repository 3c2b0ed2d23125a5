"""Residual generators at one resolution: SRResNet and ESRGAN's RRDB. They enlarge images, or clean and translate them.

SRResNet (Ledig et al. 2017, arXiv:1609.04802, sec. 2.1.1): a 9x9 convolution, blocks of two 3x3 convolutions with norms
and PReLU, a long skip, pixel shuffles (Shi et al. 2016, arXiv:1609.05158), a 9x9 convolution. The paper has 16 blocks
at width 64, and BatchNorm: 1.5 M parameters for images four times as large. It gives no initialisation; this is He's.

RRDB (Wang et al. 2018, arXiv:1809.00219, sec. 3.1): each block has three dense blocks of five 3x3 convolutions, which
are scaled by 0.2 and added; no norms. Nearest-neighbour upsampling, each with a convolution, and two more convolutions
follow. ESRGAN has 23 blocks at width 64, growth 32: 16.7 M parameters for images four times as large. The blocks'
weights begin at a tenth of He's.

The images are around [-1, 1], but not bounded. With `residual` G adds what is missing to y's image, which a small net
learns fast; the last layer then begins at a hundredth of its weights. Without, as in both papers, it draws the whole
image.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.from_image import FromImage, factor
from gandist.gan.networks.image_d import ImageOptions
from gandist.gan.networks.norms import norm
from gandist.gan.networks.shape import Shape, options_of

SCALE = 0.2
"""RRDB's residual scaling."""
SLOPE_P, SLOPE = 0.25, 0.2
"""Negative slopes: at which SRResNet's PReLU begins, and of RRDB's LeakyReLU."""


class ResNetOptions(ImageOptions):
    """Options of SRResNet."""

    blocks: int = Field(16, ge=1)
    """Residual blocks of G; 16 in the paper."""
    residual: bool = True
    """Whether G adds to y's image, enlarged bicubically; false in the paper."""


class RRDBOptions(ImageOptions):
    """Options of RRDB."""

    blocks: int = Field(4, ge=1)
    """Residual blocks of G, each of 15 convolutions; 23 in the paper."""
    growth: int = Field(0, ge=0)
    """Channels that each dense convolution adds; 0 for half of model.width, which is the paper's 32 at 64."""
    residual: bool = True
    """Whether G adds to y's image, enlarged bicubically; false in the paper."""


def _convolution(before: int, after: int, size: int, slope: float, gain: float = 1.0, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the resolution, He-initialised for that slope, times `gain`."""
    made = nn.Conv2d(before, after, size, padding=size // 2, bias=bias)
    nn.init.kaiming_normal_(made.weight, slope)
    made.weight.data.mul_(gain)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def _activated(width: int) -> list[nn.Module]:
    return [_convolution(width, width, 3, SLOPE), nn.LeakyReLU(SLOPE, inplace=True)]


class PReLU(nn.PReLU):
    """torch's with one slope, in the features' type under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x.dtype))


class Shuffle(nn.Module):
    """(N, 4 C, H, W) -> (N, C, 2H, 2W): torch's `PixelShuffle` of channels in another order, which keeps channels_last.

    Pixel (i, j) of the four has the channels from (2 i + j) C on.
    """

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height, width, 2, 2, channels // 4)
        return pixels.transpose(2, 3).reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class Block(nn.Module):
    """SRResNet's: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, bias = shape.width, shape.norm not in ("batch", "sync")
        self.layers = nn.Sequential(
            _convolution(width, width, 3, SLOPE_P, bias=bias),
            norm(shape.norm, width),
            PReLU(),
            _convolution(width, width, 3, 1.0, 0.1, bias=bias),  # without norms, the sum of blocks stays small
            norm(shape.norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = x + self.layers(x)
        return h


class Generator(FromImage):
    """SRResNet: z: (N, z_dim), y: (N, Cy, h, w) -> images (N, C, factor h, factor w)."""

    def __init__(self, shape: Shape) -> None:
        options = options_of(shape, ResNetOptions)
        super().__init__(shape, options.residual)
        width, bias = shape.width, shape.norm not in ("batch", "sync")
        self.first = nn.Sequential(_convolution(self.inputs, width, 9, SLOPE_P), PReLU())
        self.blocks = nn.Sequential(
            *(Block(shape) for _ in range(options.blocks)),
            _convolution(width, width, 3, 1.0, bias=bias),
            norm(shape.norm, width),
        )
        self.image = nn.Sequential()
        for _ in range(factor(shape).bit_length() - 1):
            self.image.extend([_convolution(width, 4 * width, 3, SLOPE_P), Shuffle(), PReLU()])
        self.image.append(_convolution(width, shape.channels, 9, 1.0, 0.01 if options.residual else 1.0))

    def draw(self, h: Tensor) -> Tensor:
        h = self.first(h)
        images: Tensor = self.image(h + self.blocks(h))
        return images


class Dense(nn.Module):
    """(N, C, H, W) -> (N, C, H, W): five convolutions, each of which sees all before it; the result scaled, added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_convolution(width + k * growth, growth, 3, SLOPE, 0.1) for k in range(4))
        self.last = _convolution(width + 4 * growth, width, 3, 1.0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.layers:
            h = torch.cat([h, F.leaky_relu(layer(h), SLOPE, inplace=True)], dim=1)
        return torch.add(x, self.last(h), alpha=SCALE)


class RRDB(nn.Module):
    """A residual in residual dense block: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.layers(x), alpha=SCALE)


class GeneratorRRDB(FromImage):
    """RRDB: z: (N, z_dim), y: (N, Cy, h, w) -> images (N, C, factor h, factor w)."""

    def __init__(self, shape: Shape) -> None:
        options = options_of(shape, RRDBOptions)
        super().__init__(shape, options.residual)
        width, growth = shape.width, options.growth or max(1, shape.width // 2)
        self.first = _convolution(self.inputs, width, 3, 1.0)
        self.blocks = nn.Sequential(
            *(RRDB(width, growth) for _ in range(options.blocks)), _convolution(width, width, 3, 1.0)
        )
        self.image = nn.Sequential()
        for _ in range(factor(shape).bit_length() - 1):
            self.image.extend(
                [nn.Upsample(scale_factor=2), _convolution(width, width, 3, SLOPE), nn.LeakyReLU(SLOPE, inplace=True)]
            )
        self.image.extend([_convolution(width, width, 3, SLOPE), nn.LeakyReLU(SLOPE, inplace=True)])
        self.image.append(_convolution(width, shape.channels, 3, 1.0, 0.01 if options.residual else 1.0))

    def draw(self, h: Tensor) -> Tensor:
        h = self.first(h)
        images: Tensor = self.image(h + self.blocks(h))
        return images
