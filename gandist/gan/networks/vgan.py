"""VGAN (Vondrick, Pirsiavash, Torralba 2016, arXiv:1609.02612): DCGAN with convolutions over time, height and width."""

import itertools

import torch
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, spectral
from gandist.gan.networks.shape import Shape, condition, projection


def levels(shape: Shape) -> list[tuple[tuple[int, int, int], int]]:
    """(frames, height, width) and channels of G's features, from the first."""
    _, frames, height, width = shape.sample
    sizes = [(frames, height, width)]
    while min(sizes[-1][1:]) > 4:
        f, h, w = sizes[-1]
        sizes.append((f // 2 if f > 2 and f % 2 == 0 else f, h // 2, w // 2))
    return [(size, shape.width * 2**k) for k, size in enumerate(sizes[1:])][::-1]


def _kernel(before: int, after: int) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    return ((4, 4, 4), (2, 2, 2), (1, 1, 1)) if before != after else ((3, 4, 4), (1, 2, 2), (1, 1, 1))


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) -> clips (N, C, F, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        sizes = levels(shape)
        self.first, width = sizes[0]
        self.embed = condition(shape, shape.z_dim)
        self.dense = nn.Linear(shape.z_dim * (2 if self.embed else 1), width * self.first[0] * 16)
        steps = [*sizes, (tuple(shape.sample[1:]), shape.sample[0])]
        layers: list[nn.Module] = [nn.ReLU(inplace=True)]
        for (before, wide), (after, narrow) in itertools.pairwise(steps):
            layers += [nn.ConvTranspose3d(wide, narrow, *_kernel(before[0], after[0])), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1], nn.Tanh())
        self.width = width

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        clips: Tensor = self.layers(self.dense(z).view(len(z), self.width, *self.first))
        return clips


class Discriminator(nn.Module):
    """x: (N, C, F, H, W), y: (N,) -> scores (N,)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        sizes = levels(shape)[::-1]
        steps = [(tuple(shape.sample[1:]), shape.sample[0]), *sizes]
        layers: list[nn.Module] = []
        for (before, wide), (after, narrow) in itertools.pairwise(steps):
            layers += [nn.Conv3d(wide, narrow, *_kernel(before[0], after[0])), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        size, width = sizes[-1]
        self.score = nn.Linear(width * size[0] * 16, 1, bias=False)
        self.embed = condition(shape, width)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.layers(x)
        return at_least_float32(self.score(h.flatten(1)).squeeze(1) + projection(self.embed, y, h.mean((2, 3, 4))))
