"""The character model of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, section 5): residual 1-D convolutions.

G is dense, then residual blocks, then a convolution of kernel 1 and a softmax over the symbols of each place, which
goes to D as it is; D is a convolution of kernel 1, residual blocks, and dense. A block adds .3 of two convolutions of
kernel 5, each after a ReLU. All features have the same width; the paper's is 512, with 5 blocks.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, spectral
from gandist.gan.networks.shape import Shape, condition, options_of, projection
from gandist.options import Options

KERNEL, SHARE = 5, 0.3


class TextOptions(Options):
    """Options of the character model."""

    blocks: int = Field(5, ge=1, le=20)
    """Residual blocks of G, and of D."""


class Block(nn.Module):
    """x + .3 f(x), (N, width, L) -> (N, width, L)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.second = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + SHARE * changed


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> (N, V, L), for each place the share of each symbol, in float32."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        symbols, self.length = shape.sample
        self.embed = condition(shape, shape.z_dim)
        self.dense = nn.Linear(shape.z_dim * (2 if self.embed else 1), shape.width * self.length)
        self.blocks = nn.Sequential(*(Block(shape.width) for _ in range(options_of(shape, TextOptions).blocks)))
        self.out = nn.Conv1d(shape.width, symbols, 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.blocks(self.dense(z).view(len(z), -1, self.length))
        return at_least_float32(self.out(h)).softmax(1)


class Discriminator(nn.Module):
    """x: (N, V, L), y: (N,) or (N, text_dim) -> scores (N,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        symbols, length = shape.sample
        self.into = nn.Conv1d(symbols, shape.width, 1)
        self.blocks = nn.Sequential(*(Block(shape.width) for _ in range(options_of(shape, TextOptions).blocks)))
        self.score = nn.Linear(shape.width * length, 1)
        self.embed = condition(shape, shape.width)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.blocks(self.into(x))
        return at_least_float32(self.score(h.flatten(1)).squeeze(1) + projection(self.embed, y, h.mean(2)))
