"""LaMa's generator (Suvorov et al. 2021, arXiv:2109.07161), of fast Fourier convolutions (Chi et al. 2020, NeurIPS).

A 7x7 convolution, three of stride 2 that double the channels, residual blocks of two Fourier convolutions, three
transposed ones, a 7x7 convolution and tanh. (LaMa's images lie in [0, 1], and its sigmoid is tanh's in other units.) At
width 64 with 9 blocks, three quarters of whose channels are global, these are the paper's 27 M parameters
(LaMa-Fourier). Every convolution but the last has a norm, in the paper BatchNorm, and ReLU. The paper gives no
initialisation; this is torch's. Convolutions of pixels pad by reflection.

A Fourier convolution sees the whole image in every layer. The images do not simply move along if y moves: that turns
the phases of the spectrum, of which ReLU cuts real and imaginary parts apart. Images of any height and width go through
that are multiples of 8 and at least 16, and so do features of odd sizes: a real spectrum of w columns has w // 2 + 1,
and the inverse transform takes w as an argument. Transforms run in float32 even under autocast: in half precision
CUDA's know powers of two alone.
"""

from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.from_image import FromImage
from gandist.gan.networks.image_d import ImageOptions
from gandist.gan.networks.norms import at_least_float32, layout, norm
from gandist.gan.networks.resample import reflected
from gandist.gan.networks.shape import Shape, options_of

HALVINGS = 3

Pair = tuple[Tensor, Tensor]
"""Local and global features, each (N, C, H, W) with C of its own."""


class Reflecting(nn.Conv2d):
    """A convolution padded by reflection."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.kernel_size[0] // 2
        return F.conv2d(reflected(x, pixels), self.weight, self.bias, self.stride)


Convolution = partial(Reflecting, bias=False)


class FFCOptions(ImageOptions):
    """Options of the pair."""

    blocks: int = Field(4, ge=1)
    """Residual blocks of G, each of two Fourier convolutions; 9 in the paper."""
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of a block's channels that are global."""


def multiple(shape: Shape) -> int:
    """G takes y of any height and width that are multiples of this, from twice this on."""
    return 1 << HALVINGS


def _activated(name: str, *layers: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(*layers, norm(name, channels), nn.ReLU(inplace=True))


class Fourier(nn.Module):
    """(N, C, H, W) -> (N, C, H, W): a 1x1 convolution of the spectrum's real and imaginary parts, norm, ReLU."""

    def __init__(self, channels: int, norm_name: str) -> None:
        super().__init__()
        self.layers = _activated(norm_name, nn.Conv2d(2 * channels, 2 * channels, 1, bias=False), channels=2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(at_least_float32(x), norm="ortho")
        parts = torch.cat([spectrum.real, spectrum.imag], dim=1).contiguous(memory_format=layout(x))
        real, imaginary = at_least_float32(self.layers(parts)).chunk(2, dim=1)
        image: Tensor = torch.fft.irfft2(torch.complex(real, imaginary), x.shape[2:], norm="ortho")
        return image.to(x.dtype, memory_format=layout(x))


class Spectral(nn.Module):
    """(N, C, H, W) -> (N, C, H, W) over the whole image: 1x1 to half of the channels, to the spectrum and back, 1x1."""

    def __init__(self, channels: int, norm_name: str) -> None:
        super().__init__()
        half = channels // 2
        self.before = _activated(norm_name, nn.Conv2d(channels, half, 1, bias=False), channels=half)
        self.fourier = Fourier(half, norm_name)
        self.after = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        out: Tensor = self.after(h + self.fourier(h))
        return out


class FFC(nn.Module):
    """(local, global) -> (local, global): 3x3 convolutions, but from global to global a spectral one."""

    def __init__(self, local: int, far: int, norm_name: str) -> None:
        super().__init__()
        self.sizes = [local, far]
        self.of_local = Convolution(local, local + far, 3)
        self.far_to_local = Convolution(far, local, 3)
        self.far_to_far = Spectral(far, norm_name)
        self.local = _activated(norm_name, channels=local)
        self.far = _activated(norm_name, channels=far)

    def forward(self, features: Pair) -> Pair:
        local, far = features
        to_local, to_far = self.of_local(local).split(self.sizes, dim=1)
        return self.local(self.far_to_local(far) + to_local), self.far(self.far_to_far(far) + to_far)


class Block(nn.Module):
    """(local, global) -> (local, global): two Fourier convolutions, added."""

    def __init__(self, local: int, far: int, norm_name: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(FFC(local, far, norm_name), FFC(local, far, norm_name))

    def forward(self, features: Pair) -> Pair:
        local, far = self.layers(features)
        return features[0] + local, features[1] + far


class Generator(FromImage):
    """z: (N, z_dim), y: (N, Cy, H, W) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError if y is smaller than the images, or if a kind of features would have no channels."""
        super().__init__(shape)
        options = options_of(shape, FFCOptions)
        if self.factor > 1:
            raise ValueError(f"ffc fills and translates images; it does not enlarge them {self.factor} times")
        widths = [shape.width << k for k in range(HALVINGS + 1)]
        far = int(widths[-1] * options.ratio)
        local = widths[-1] - far
        if far < 2 or local < 1:
            raise ValueError(f"of {widths[-1]} channels, {far} are global; set model.options.ratio nearer to 0.5")
        self.sizes = [local, far]
        first = Convolution(self.inputs, shape.width, 7)
        self.down = nn.Sequential(_activated(shape.norm, first, channels=shape.width))
        self.up = nn.Sequential()
        for w in widths[:-1]:
            halve = Convolution(w, 2 * w, 3, stride=2)
            self.down.append(_activated(shape.norm, halve, channels=2 * w))
        for w in widths[-2::-1]:
            double = nn.ConvTranspose2d(2 * w, w, 3, stride=2, padding=1, output_padding=1, bias=False)
            self.up.append(_activated(shape.norm, double, channels=w))
        self.blocks = nn.Sequential(*(Block(local, far, shape.norm) for _ in range(options.blocks)))
        self.image = Reflecting(shape.width, shape.channels, 7)

    def draw(self, h: Tensor) -> Tensor:
        # The last convolution of stride 2 goes to both kinds of features: its channels are theirs.
        h = self.down(h)
        parts = [part.contiguous(memory_format=layout(h)) for part in torch.split(h, self.sizes, dim=1)]
        local, far = self.blocks((parts[0], parts[1]))
        return torch.tanh(self.image(self.up(torch.cat([local, far], dim=1))))
