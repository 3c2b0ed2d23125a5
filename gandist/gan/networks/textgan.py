"""The character model of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, section 5): residual 1-D convolutions.

G is dense, then residual blocks, then a convolution of kernel 1 and a softmax over the symbols of each place, which
goes to D as it is; D is a convolution of kernel 1, residual blocks, and dense. A block adds .3 of two convolutions of
kernel 5, each after a ReLU. All features have the same width; the paper's is 512, with 5 blocks.

Unlike the paper's, D's score has no bias, nor has the last convolution before it: to these no objective of a difference
gives a gradient. Conditioned, G takes an embedding of y beside z (Mirza & Osindero 2014), and D adds the projection
of its mean features on an embedding of y (Miyato & Koyama 2018, arXiv:1802.05637). G may normalise the features before
each of a block's activations, as the paper's does not.

The paper does not give the initialisation. Convolutions behind a ReLU begin with He's (2015, arXiv:1502.01852), the
first of D, whose input is one symbol, as an embedding, the others with Glorot's (2010); biases start at 0. After 49,000
English words half of G's samples were repetitions if all began with torch's own, and one in twenty if with these (one
run each).

Features are (N, C, 1, L) with channels last, as fast as torch's convolutions of (N, C, L), so that D can be a
`PiecewiseLinear` one: its penalties then cost half.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, norm, spectral
from gandist.gan.networks.shape import Shape, condition, options_of, projection
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape
from gandist.options import Options

KERNEL, PADDING = (1, 5), (0, 2)
SHARE = 0.3
"""Of a block's convolutions in what it gives."""


class TextOptions(Options):
    """Options of the character model."""

    blocks: int = Field(5, ge=1, le=20)
    """Residual blocks of G, and of D."""


def _convolution(width: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, width, KERNEL, padding=PADDING, bias=bias)


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            behind_relu = isinstance(module, nn.Conv2d) and module.kernel_size == KERNEL
            (nn.init.kaiming_uniform_ if behind_relu else nn.init.xavier_uniform_)(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> (N, V, L), for each place the share of each symbol, in float32."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        symbols, self.length = shape.sample
        self.embed = condition(shape, shape.z_dim)
        self.dense = nn.Linear(shape.z_dim * (2 if self.embed else 1), shape.width * self.length)
        blocks = options_of(shape, TextOptions).blocks
        self.blocks = nn.Sequential(*(Block(shape.width, shape.norm) for _ in range(blocks)))
        self.out = nn.Conv2d(shape.width, symbols, 1)
        _initialise(self)
        if isinstance(self.embed, nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale, as an embedding's is

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.dense(z).view(z.shape[0], 1, self.length, -1).permute(0, 3, 1, 2)  # made in channels_last order
        return at_least_float32(self.out(self.blocks(h)).squeeze(2)).softmax(1)


class Block(nn.Module):
    """x + .3 f(x), (N, width, 1, L) -> (N, width, 1, L)."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            norm(name, width),
            nn.ReLU(),
            _convolution(width, bias=name not in ("batch", "sync")),
            norm(name, width),
            nn.ReLU(inplace=True),
            _convolution(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layers(x)
        return x + SHARE * changed


class Discriminator(PiecewiseLinear):
    """x: (N, V, L), y: (N,) or (N, text_dim) -> scores (N,), in float32 under autocast too."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        symbols, length = shape.sample
        self.into = nn.Conv2d(symbols, shape.width, 1)
        blocks = options_of(shape, TextOptions).blocks
        self.first = nn.ModuleList(_convolution(shape.width) for _ in range(blocks))
        self.second = nn.ModuleList(_convolution(shape.width, bias=i + 1 < blocks) for i in range(blocks))
        self.act, self.pass_on = nn.LeakyReLU(0.0), nn.LeakyReLU(1.0)
        self.score = nn.Linear(shape.width * length, 1, bias=False)
        self.embed = condition(shape, shape.width)
        _initialise(self)
        nn.init.normal_(self.into.weight)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        # A convolution with a bias and nothing behind it passes on what it gives: for the tape, a gate that is open
        h = x[:, :, None].contiguous(memory_format=torch.channels_last)
        h = tape.activated(self.into, self.pass_on, h)
        for first, second in zip(self.first, self.second, strict=True):
            assert isinstance(first, nn.Conv2d)
            assert isinstance(second, nn.Conv2d)
            changed = tape.activated(first, self.act, tape.gate(self.act, h))
            last = second.bias is None
            changed = tape.linear(second, changed) if last else tape.activated(second, self.pass_on, changed)
            h = h + SHARE * changed
        return tape.linear(lambda features: self._scores(features, y), h)

    def _scores(self, features: Tensor, y: Tensor | None) -> Tensor:
        scores = self.score(features.permute(0, 2, 3, 1).flatten(1)).squeeze(1)
        return at_least_float32(scores + projection(self.embed, y, features.mean((2, 3))))
