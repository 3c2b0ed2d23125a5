"""The R3GAN pair (Huang, Gokaslan, Kuleshov, Tompkin 2024, arXiv:2501.05441, section 4, configuration E).

G modulates 4x4 learnt features (its basis) by z. Two residual blocks follow at each resolution. Bilinear upsampling
joins the resolutions, with a 1x1 convolution if the channels change. A last 1x1 convolution makes the image. D mirrors
G and ends in a 4x4 depthwise convolution and a linear score. A block is an inverted bottleneck: 1x1 to twice the
channels, 3x3 in groups of 16 channels, 1x1 back, with LeakyReLU(0.2) between. There is no normalisation; fix-up
initialisation controls the variance. Biases stand only before activations. So the pair for 256 pixels
(768, 768, 768, 768, 384, 192, 96; z of 64) has 23.058 M and 23.010 M parameters.

G has no final Tanh, as in the paper: its images are not bounded, and only D keeps them near [-1, 1]. D's score has no
bias: a relativistic loss would cancel it.

The paper leaves some choices open. Here, layers outside the blocks preserve the variance at the start, and the basis
comes from N(0, 1). Conditioned on classes, G takes an embedding of y beside z, and D adds the inner product of an
embedding of y and its features (the projection of Miyato & Koyama 2018, arXiv:1802.05637).
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from gandist.gan.networks.resample import down2, up2
from gandist.gan.networks.shape import Shape, condition, projection
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape

EXPANSION = 2
"""Ratio of the channels inside a block to those outside."""
GROUP = 16
"""Channels in a group of the 3x3 convolution; narrower blocks use the largest smaller power of two that divides."""
BLOCKS = 2
"""Residual blocks at each resolution."""
SLOPE = 0.2
"""Negative slope of LeakyReLU."""


def levels(shape: Shape) -> tuple[int, ...]:
    """Channels at 4x4, 8x8 and so on up to the image's resolution: `shape.widths`.

    If `shape.widths` is (), each halving of the resolution doubles `shape.width`, up to eight times it:
    (512, 512, 256, 128, 64) at 64 pixels and width 64.

    Raises:
        ValueError: `shape.widths` has the wrong number of levels.
    """
    n = shape.resolution.bit_length() - 2
    if not shape.widths:
        return tuple(shape.width * min(2**k, 8) for k in reversed(range(n)))
    if len(shape.widths) != n:
        raise ValueError(
            f"model.widths names {len(shape.widths)} levels; from 4x4 up to {shape.resolution} pixels there are {n}"
        )
    return shape.widths


class Block(nn.Module):
    """x + branch(x), (N, channels, H, W): an inverted bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.branch = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide // math.gcd(GROUP, wide)),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv1x1(wide, channels),
        )

    def forward(self, x: Tensor, tape: Tape = SILENT) -> Tensor:
        first, act, middle, act2, last = self._layers()
        h = tape.activated(middle, act2, tape.activated(first, act, x))
        return x + tape.linear(last, h)

    def _layers(self) -> tuple[nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.LeakyReLU, nn.Conv2d]:
        return tuple(self.branch)  # type: ignore[return-value]


class Resample(nn.Module):
    """`up2` or `down2` as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def conv1x1(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, bias=False)


def change(before: int, after: int) -> list[nn.Module]:
    """Layers that change the channels. They commute with resampling, so they run at the lower resolution."""
    return [] if before == after else [conv1x1(before, after)]


def stage(channels: int) -> list[nn.Module]:
    return [Block(channels) for _ in range(BLOCKS)]


def init_fixup(net: nn.Module) -> None:
    """Fix-up initialisation (Zhang, Dauphin, Ma 2019, arXiv:1901.09321), without its scalar biases and multipliers.

    For L branches of m = 3 layers, the last layer starts at zero and the others at He's weights times L^(-1/(2m-2)).
    Layers outside the branches start at N(0, 1/inputs).
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    branches = [module.branch for module in net.modules() if isinstance(module, Block)]
    for branch in branches:
        *others, last = (layer for layer in branch if isinstance(layer, nn.Conv2d))
        m = len(others) + 1
        for layer in others:
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            layer.weight.data.mul_(len(branches) ** (-1 / (2 * m - 2)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) -> images (N, C, H, W), around [-1, 1] but not bounded."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = levels(shape)
        self.embed = condition(shape, shape.z_dim)  # embeddings start on z's scale, N(0, 1)
        self.modulate = nn.Linear(shape.z_dim * (2 if self.embed else 1), widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        layers = stage(widths[0])
        for lower, higher in pairwise(widths):
            layers += [*change(lower, higher), Resample(up2), *stage(higher)]
        self.layers = nn.Sequential(*layers, conv1x1(widths[-1], shape.channels))
        init_fixup(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        style = self.modulate(z)[:, :, None, None]
        # A float32 basis would keep all residual sums in float32 under autocast.
        images: Tensor = self.layers(self.basis.to(style.dtype) * style)
        return images


class Discriminator(PiecewiseLinear):
    """x: (N, C, H, W), y: (N,) -> scores (N,), in float32 even under autocast."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = levels(shape)[::-1]
        layers = [conv1x1(shape.channels, widths[0]), *stage(widths[0])]
        for higher, lower in pairwise(widths):
            layers += [Resample(down2), *change(higher, lower), *stage(lower)]
        self.layers = nn.Sequential(*layers)
        self.pool = nn.Parameter(torch.randn(1, widths[-1], 4, 4).div_(4))
        self.score = nn.Parameter(torch.randn(widths[-1]).div_(math.sqrt(widths[-1])))
        self.embed = condition(shape, widths[-1])
        init_fixup(self)
        if isinstance(self.embed, nn.Embedding):
            nn.init.normal_(self.embed.weight, std=1 / math.sqrt(widths[-1]))  # on the scale of `score`

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, Block):
                x = layer(x, tape)
            else:
                x = tape.linear(layer, x) if isinstance(layer, nn.Conv2d) else layer(x)
        return tape.linear(lambda features: self._scores(features, y), x)

    def _scores(self, features: Tensor, y: Tensor | None) -> Tensor:
        # Sums of products replace a depthwise convolution and a matrix product. Autocast would round the scores, and
        # the relativistic loss depends on their differences alone. The double backward of a grouped convolution also
        # loops over its groups.
        h = (features * self.pool).sum((2, 3))
        scores: Tensor = (h * self.score).sum(1) + projection(self.embed, y, h)
        return scores
