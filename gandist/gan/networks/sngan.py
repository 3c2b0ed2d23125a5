"""The SNGAN pair (Miyato et al. 2018, arXiv:1802.05957, appendix B.4): residual networks, D spectrally normalised.

At width 64 the channels are the paper's. At 32 pixels (CIFAR-10), every layer of G has 4 widths (256) and of D 2 (128).
At 64 and 128 pixels (STL-10, ImageNet), the channels double with every level away from the image, from 1 width up to
16: at 64 pixels G has 1024-512-256-128-64 and D 64-128-256-512-1024. At 128 pixels each has one more inner level of
1024. D's last block keeps the resolution; at 32 pixels its last two do.

Conditioned (Miyato & Koyama 2018, arXiv:1802.05637), G's blocks take the gains and biases of their norms from y, and
D adds the projection of its features on an embedding of y. D's last layer has no bias: a relativistic objective would
give it no gradient.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks.norms import norm, spectral
from gandist.gan.networks.shape import Shape, condition, projection


def channels_G(shape: Shape) -> list[int]:
    """Channels of the features at 4x4, 8x8, ... up to the image's resolution."""
    doublings = shape.resolution.bit_length() - 3
    if shape.resolution == 32:
        return [4 * shape.width] * (doublings + 1)
    return [shape.width * min(2**k, 16) for k in reversed(range(doublings + 1))]


def channels_D(shape: Shape) -> list[int]:
    """Channels that each block returns, from the image on."""
    halvings = shape.resolution.bit_length() - 3
    if shape.resolution == 32:
        return [2 * shape.width] * (halvings + 1)
    return [shape.width * min(2**k, 16) for k in range(halvings + 1)]


def convolution(before: int, after: int, size: int, gain: float = 1.0, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the resolution, Xavier-initialised with `gain`."""
    made = nn.Conv2d(before, after, size, padding=size // 2, bias=bias)
    nn.init.xavier_uniform_(made.weight, gain)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def upsample(x: Tensor) -> Tensor:
    larger: Tensor = F.interpolate(x, scale_factor=2, mode="nearest")
    return larger


class ConditionalNorm(nn.Module):
    """The norm of `shape`, with gains and biases from y: (x, y) -> like x. They start at 1 and 0 for every y."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        self.norm = norm(shape.norm, channels, affine=not shape.condition_dim)
        self.gain, self.bias = condition(shape, channels), condition(shape, channels)
        for embed in (self.gain, self.bias):
            if isinstance(embed, nn.Embedding | nn.Linear):
                nn.init.zeros_(embed.weight)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h: Tensor = self.norm(x)
        if self.gain is not None and self.bias is not None:
            # Autocast leaves embeddings in float32, which would widen all that follows.
            gain, bias = (1 + self.gain(y)).to(h.dtype), self.bias(y).to(h.dtype)
            h = h * gain[:, :, None, None] + bias[:, :, None, None]
        return h


class BlockG(nn.Module):
    """Doubles the resolution: (x: (N, before, H, W), y) -> (N, after, 2 H, 2 W)."""

    def __init__(self, shape: Shape, before: int, after: int) -> None:
        super().__init__()
        # No bias: a BatchNorm, here or some blocks later, would remove it.
        bias = shape.norm not in ("batch", "sync")
        self.norm_1 = ConditionalNorm(shape, before)
        self.conv_1 = convolution(before, after, 3, 2**0.5, bias)
        self.norm_2 = ConditionalNorm(shape, after)
        self.conv_2 = convolution(after, after, 3, 2**0.5, bias)
        self.shortcut = convolution(before, after, 1, bias=bias)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h: Tensor = self.conv_1(upsample(F.relu(self.norm_1(x, y))))
        h = self.conv_2(F.relu(self.norm_2(h, y)))
        # The paper upsamples first: the result is the same at four times the work.
        return h + upsample(self.shortcut(x))


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = channels_G(shape)
        self.dense = nn.Linear(shape.z_dim, 4 * 4 * channels[0])
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.blocks = nn.ModuleList(BlockG(shape, before, after) for before, after in pairwise(channels))
        self.image = nn.Sequential(
            norm(shape.norm, channels[-1]),
            nn.ReLU(inplace=True),
            convolution(channels[-1], shape.channels, 3),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.dense(z).view(z.shape[0], 4, 4, -1).permute(0, 3, 1, 2)  # made in channels_last order
        for block in self.blocks:
            h = block(h, y)
        images: Tensor = self.image(h)
        return images


class BlockD(nn.Module):
    """(N, before, H, W) -> (N, after, H, W), or (N, after, H / 2, W / 2) if it halves the resolution.

    The first block, on the image, has no norm or ReLU in front.
    """

    def __init__(self, shape: Shape, before: int, after: int, halve: bool, first: bool) -> None:
        super().__init__()
        inside = after if first else before
        front = [] if first else [norm(shape.norm, before), nn.ReLU()]
        pool = [nn.AvgPool2d(2)] if halve else []
        self.residual = nn.Sequential(
            *front,
            convolution(before, inside, 3, 2**0.5),
            norm(shape.norm, inside),
            nn.ReLU(inplace=True),
            convolution(inside, after, 3, 2**0.5),
            *pool,
        )
        # The paper pools last except in the first block: the result is the same at four times the work.
        self.shortcut = nn.Sequential(*pool, *([convolution(before, after, 1)] if halve or before != after else []))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.residual(x) + self.shortcut(x)
        return h


class Discriminator(nn.Module):
    """x: (N, C, H, W), y: (N,) or (N, text_dim) -> scores (N,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = channels_D(shape)
        halving = 2 if shape.resolution == 32 else len(channels) - 1
        blocks = [
            BlockD(shape, before, after, halve=k < halving, first=k == 0)
            for k, (before, after) in enumerate(pairwise([shape.channels, *channels]))
        ]
        self.features = nn.Sequential(*blocks, nn.ReLU(inplace=True))
        self.score = nn.Linear(channels[-1], 1, bias=False)
        self.embed = condition(shape, channels[-1])
        for module in (self.score, self.embed):
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.features(x).sum(dim=(2, 3))
        scores: Tensor = self.score(h).flatten() + projection(self.embed, y, h)
        return scores
