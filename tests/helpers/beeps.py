"""A small pair of networks for sounds, as a file of `imports`: with classes, or given the log-mel of a sound."""

from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Pair, Shape

DIM = 8


class Generator(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.sample = shape.sample
        self.embed = nn.Embedding(shape.classes, shape.z_dim) if shape.classes else None
        values = shape.sample[0] * shape.sample[1]
        self.layers = nn.Sequential(nn.Linear(shape.z_dim, DIM), nn.Tanh(), nn.Linear(DIM, values), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        made: Tensor = self.layers(z if self.embed is None else z + self.embed(y))
        return made.view(-1, *self.sample)


class Discriminator(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.classes, DIM) if shape.classes else None
        self.layers = nn.Sequential(nn.Conv1d(shape.sample[0], DIM, 16, 8), nn.LeakyReLU(0.2))
        self.score = nn.Linear(DIM, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.layers(x).mean(2)
        score: Tensor = self.score(h)[:, 0]
        return score if self.embed is None else score + (self.embed(y) * h).sum(1)


NETWORKS["beeps"] = Pair(Generator, Discriminator, medium="audio")
