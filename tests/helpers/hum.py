"""A small vocoder, as a file of `imports`: a pair that makes a sound of its mel spectrogram."""

import torch
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Pair, Shape

DIM, HOP = 8, 64


class Generator(nn.Module):
    """Sees two frames before and after each frame, and half a frame more by the transposed convolution."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.first = nn.Conv1d(shape.y[0] + shape.z_dim, DIM, 5, padding=2)
        self.up = nn.ConvTranspose1d(DIM, DIM, 2 * HOP, HOP, padding=HOP // 2)
        self.last = nn.Conv1d(DIM, shape.sample[0], 7, padding=3)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = torch.cat([y, z[:, :, None].expand(-1, -1, y.shape[2])], dim=1)
        made: Tensor = self.last(self.up(self.first(h).tanh()).tanh()).tanh()
        return made


class Everywhere(Generator):
    """Sees all of a sound."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return super().forward(z, y - y.mean(2, keepdim=True))


class Discriminator(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(shape.sample[0], DIM, 16, 8), nn.LeakyReLU(0.2), nn.Conv1d(DIM, 1, 3))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        score: Tensor = self.layers(x)
        return score


NETWORKS["hum"] = Pair(Generator, Discriminator, conditions=("sample",), medium="audio")
NETWORKS["hum-all"] = Pair(Everywhere, Discriminator, conditions=("sample",), medium="audio")
