"""The WaveGAN pair (Donahue, McAuley, Puckette 2019, arXiv:1802.04208, appendix D): DCGAN, flattened, for sounds.

G is dense, then transposed convolutions of kernel 25 and stride 4 with ReLU, the last with tanh; D is convolutions of
kernel 25 and stride 4 with LeakyReLU(0.2), then dense. 16,384 samples are 16 * 4^5: at width 64, G's channels are
1024-512-256-128-64-C and D's their mirror. 4,096 samples have a level less, 65,536 one more. Any number from 16 to 63
may stand for the 16.

After each of D's layers but the last, phase shuffle moves each sample by up to n places, the same for all its channels
(section 3.3): else D would reject G's sounds by the phase of the ripples that transposed convolutions leave.

Unlike the paper's, z is normal, and D's score has no bias, to which no objective of a difference gives a gradient. The
weights begin as Xavier's, which the paper does not say. Conditioned, G takes an embedding of y beside z (Mirza &
Osindero 2014), and D adds the projection of its features on an embedding of y (Miyato & Koyama 2018,
arXiv:1802.05637).

Features are (N, C, 1, T) with channels last: faster than torch's convolutions of (N, C, T), on one core by a quarter.
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, norm, spectral
from gandist.gan.networks.shape import Shape, condition, options_of, projection
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape
from gandist.options import Options

KERNEL, STRIDE, PADDING = (1, 25), (1, 4), (0, 11)
START = 16
"""Least length of G's first features, in samples."""


class WaveOptions(Options):
    """Options of WaveGAN."""

    shuffle: int = Field(2, ge=0, le=8)
    """Places by which phase shuffle moves the features of D at most; 0 for none."""


def levels(shape: Shape) -> tuple[int, list[int]]:
    """Length of G's first features, and the channels of its features from there on: 16, [1024, 512, 256, 128, 64].

    Raises:
        ValueError: the samples are not 16 to 63 times a power of four.
    """
    length, count = shape.sample[-1], 0
    while length >= STRIDE[1] * START and length % STRIDE[1] == 0:
        length, count = length // STRIDE[1], count + 1
    if not count or length >= STRIDE[1] * START:
        power = STRIDE[1] ** max(1, (shape.sample[-1] // START).bit_length() - 1 >> 1)
        nearest = power * max(START, round(shape.sample[-1] / power))
        raise ValueError(
            f"wavegan makes 16 to 63 times a power of 4 samples, not {shape.sample[-1]:,}; set "
            f"data.options.samples={nearest}"
        )
    return length, [shape.width * 2**k for k in reversed(range(count))]


def init_xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> sounds (N, C, T) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.length, widths = levels(shape)
        bias = shape.norm not in ("batch", "sync")
        self.embed = condition(shape, shape.z_dim)
        self.dense = nn.Linear(shape.z_dim * (2 if self.embed else 1), self.length * widths[0], bias=bias)
        layers = [norm(shape.norm, widths[0]), nn.ReLU(inplace=True)]
        for before, after in pairwise(widths):
            layers += [_up(before, after, bias), norm(shape.norm, after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, _up(widths[-1], shape.sample[0], True), nn.Tanh())
        self.apply(init_xavier)
        if isinstance(self.embed, nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale, as an embedding's is

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.dense(z).view(z.shape[0], 1, self.length, -1).permute(0, 3, 1, 2)  # made in channels_last order
        sounds: Tensor = self.layers(h)
        return sounds.squeeze(2)


def _up(before: int, after: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, KERNEL, STRIDE, PADDING, output_padding=(0, 1), bias=bias)


class Discriminator(PiecewiseLinear):
    """x: (N, C, T), y: (N,) or (N, text_dim), u: (N, uniforms) or None -> scores (N,), in float32 under autocast too.

    u are numbers in [0, 1), one for each phase shuffle; without them nothing is shuffled.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        length, widths = levels(shape)
        channels = [shape.sample[0], *reversed(widths)]
        self.shuffle = options_of(shape, WaveOptions).shuffle
        self.uniforms = len(widths) - 1 if self.shuffle else 0
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, STRIDE, PADDING) for before, after in pairwise(channels)
        )
        self.act = nn.LeakyReLU(0.2)
        self.score = nn.Linear(length * channels[-1], 1, bias=False)
        self.embed = condition(shape, channels[-1])
        self.apply(init_xavier)
        if isinstance(self.embed, nn.Embedding | nn.Linear):
            nn.init.normal_(self.embed.weight, 0.0, 0.1)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None, u: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        h = x[:, :, None].contiguous(memory_format=torch.channels_last)
        for k, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, nn.Conv2d)
            h = tape.activated(convolution, self.act, h)
            if u is not None and k < self.uniforms:
                h = shuffled(h, u[:, k], self.shuffle)
        return tape.linear(lambda features: self._scores(features, y), h)

    def _scores(self, features: Tensor, y: Tensor | None) -> Tensor:
        scores = self.score(features.permute(0, 2, 3, 1).flatten(1)).squeeze(1)
        return at_least_float32(scores + projection(self.embed, y, features.sum((2, 3))))


def shuffled(x: Tensor, u: Tensor, reach: int) -> Tensor:
    """x (N, C, 1, T), each sample moved by a whole number from -reach to reach, mirrored at the ends; T > reach.

    u: (N,) in [0, 1). Each place is read once or twice, so that its gradient, the sum of one or two numbers, does not
    depend on the order in which a GPU adds them.
    """
    n, channels, _, length = x.shape
    shift = (u.double() * (2 * reach + 1)).long().clamp(max=2 * reach) - reach
    places = (torch.arange(length, device=x.device) + shift[:, None]).abs()
    places = length - 1 - (length - 1 - places).abs()
    rows = places + length * torch.arange(n, device=x.device)[:, None]
    # One row of channels for each place: in channels_last, views
    taken = x.permute(0, 2, 3, 1).reshape(n * length, channels).index_select(0, rows.flatten())
    return taken.view(n, 1, length, channels).permute(0, 3, 1, 2)
