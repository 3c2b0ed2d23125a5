"""The fully connected pair of the first GAN paper (Goodfellow et al. 2014, arXiv:1406.2661).

Three hidden layers of 8 width units each (512 at width 64). G is z -> 512 -> 512 -> 512 -> C H W with ReLU, then
Tanh. D is C H W -> 512 -> 512 -> 512 -> 1 with LeakyReLU(0.2) and returns logits. The paper's D has maxout units and
dropout instead; dropout would draw noise inside the step.

Conditioned on classes, both take an embedding of y beside their input (Mirza & Osindero 2014, arXiv:1411.1784).

The paper does not give the initialisation. Layers with a rectifier use He's (2015, arXiv:1502.01852, eq. 10 and 15),
which keeps the size of the features from layer to layer. The last layers use Glorot's (2010), which puts the first
images where Tanh is steep. Biases start at 0.
"""

import math

import torch
from torch import Tensor, nn

from gandist.gan.networks.norms import spectral
from gandist.gan.networks.shape import Shape, condition


def _layers(features: int, hidden: int, out: nn.Linear, slope: float) -> nn.Sequential:
    """features -> hidden -> hidden -> hidden, each with a leaky rectifier of negative slope `slope`, -> `out`."""
    layers: list[nn.Module] = []
    for inputs in (features, hidden, hidden):
        layer = nn.Linear(inputs, hidden)
        nn.init.kaiming_normal_(layer.weight, slope)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)]
    nn.init.xavier_normal_(out.weight)
    return nn.Sequential(*layers, out)


def _beside(features: Tensor, embed: nn.Module | None, y: Tensor | None) -> Tensor:
    return features if embed is None else torch.cat([features, embed(y)], dim=1)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.image = (shape.channels, shape.resolution, shape.resolution)
        self.embed = condition(shape, shape.z_dim)
        out = nn.Linear(8 * shape.width, math.prod(self.image))
        nn.init.zeros_(out.bias)
        self.layers = _layers(shape.z_dim * (2 if self.embed else 1), 8 * shape.width, out, slope=0.0)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        pixels: Tensor = self.layers(_beside(z, self.embed, y))
        return pixels.tanh().view(-1, *self.image)


class Discriminator(nn.Module):
    """x: (N, C, H, W), y: (N,) -> scores (N,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = condition(shape, shape.z_dim)
        pixels = shape.channels * shape.resolution**2
        # No bias on the score: a relativistic objective would give it no gradient.
        out = nn.Linear(8 * shape.width, 1, bias=False)
        self.layers = _layers(pixels + (shape.z_dim if self.embed else 0), 8 * shape.width, out, slope=0.2)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scores: Tensor = self.layers(_beside(x.flatten(1), self.embed, y)).flatten()
        return scores
