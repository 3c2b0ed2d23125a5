"""The DCGAN pair (Radford, Metz, Chintala 2016, arXiv:1511.06434).

At 32 pixels and width 64, G is z -> 256 -> 128 -> 64 -> C: 4x4 transposed convolutions with BatchNorm and ReLU, then
Tanh. D is C -> 64 -> 128 -> 256 -> 1: 4x4 convolutions with BatchNorm and LeakyReLU(0.2). Each doubling of the
resolution adds a level. D returns logits; the objective applies the sigmoid.

Conditioned on classes, G takes an embedding of y beside z (Mirza & Osindero 2014). D adds the inner product of an
embedding of y and its features (the projection of Miyato & Koyama 2018, arXiv:1802.05637).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from gandist.gan.networks.norms import MinibatchStd, at_least_float32, norm, spectral
from gandist.gan.networks.shape import Shape, condition, projection
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape


def levels(shape: Shape) -> list[int]:
    """Channels from the 4x4 features up to half the image's resolution: [256, 128, 64] at 32 pixels, width 64."""
    halvings = shape.resolution.bit_length() - 3
    return [shape.width * 2**k for k in reversed(range(halvings))]


def init_dcgan(module: nn.Module) -> None:
    """The paper's initialisation: weights from N(0, 0.02), BatchNorm gains from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Embedding | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Project(nn.ConvTranspose2d):
    """A transposed convolution of a 1x1 input, computed as a matrix product."""

    def forward(self, z: Tensor, output_size: list[int] | None = None) -> Tensor:
        c, out, height, width = self.weight.shape
        # Channels_last order: the weight is then a view of its storage, and the result needs no copy.
        flat = z.flatten(1) @ self.weight.permute(0, 2, 3, 1).reshape(c, -1)
        return flat.view(-1, height, width, out).permute(0, 3, 1, 2)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = levels(shape)
        self.embed = condition(shape, shape.z_dim)
        z_channels = shape.z_dim * (2 if self.embed else 1)
        layers: list[nn.Module] = [
            Project(z_channels, widths[0], 4, 1, 0, bias=False),
            norm(shape.norm, widths[0]),
            nn.ReLU(inplace=True),
        ]
        for wider, narrower in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(wider, narrower, 4, 2, 1, bias=False),
                norm(shape.norm, narrower),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], shape.channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(init_dcgan)
        if isinstance(self.embed, nn.Embedding | nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale: a smaller condition would drown in the noise

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        images: Tensor = self.layers(z[:, :, None, None])
        return images


class Discriminator(PiecewiseLinear):
    """x: (N, C, H, W), y: (N,) -> scores (N,), in float32 even under autocast."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = levels(shape)[::-1]
        layers: list[nn.Module] = [
            nn.Conv2d(shape.channels, widths[0], 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for narrower, wider in pairwise(widths):
            layers += [
                nn.Conv2d(narrower, wider, 4, 2, 1, bias=False),
                norm(shape.norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.features = nn.Sequential(*layers)
        self.deviation = MinibatchStd(shape.minibatch_std) if shape.minibatch_std else None
        self.score = nn.Conv2d(widths[-1] + bool(shape.minibatch_std), 1, 4, 1, 0, bias=False)
        self.embed = condition(shape, widths[-1])
        self.piecewise_linear = shape.norm in ("none", "spectral") and not shape.minibatch_std
        self.apply(init_dcgan)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                x = tape.linear(layer, x)
            else:
                x = tape.gate(layer, x) if isinstance(layer, nn.LeakyReLU) else layer(x)
        return tape.linear(lambda features: self._scores(features, y), x)

    def _scores(self, features: Tensor, y: Tensor | None) -> Tensor:
        spread = features if self.deviation is None else self.deviation(features)
        scores: Tensor = self.score(spread).flatten() + projection(self.embed, y, features.sum(dim=(2, 3)))
        return at_least_float32(scores)
