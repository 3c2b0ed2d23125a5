"""A medium that is no image, with a pair for it, as a file of `imports`: what a new kind of data needs, and no more.

A sample is a line of 64 whole numbers, stored as `.i16`: a straight rise of class 0, a fall of class 1.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from gandist.errors import DataError
from gandist.gan.networks import NETWORKS, Pair, Shape
from gandist.media.gallery import png_of
from gandist.media.kinds import MEDIA
from gandist.media.medium import Medium, Preview, Row
from gandist.options import Options

LENGTH = 64


class Ramps(Medium):
    """Rows (length,) int16; networks see (1, length) in [-1, 1]."""

    length: int = LENGTH
    """Numbers in a sample."""

    @property
    def extensions(self) -> tuple[str, ...]:
        return ("i16",)

    @property
    def extension(self) -> str:
        return "i16"

    @property
    def row(self) -> Row:
        return Row((self.length,), np.int16)

    @property
    def network_shape(self) -> tuple[int, ...]:
        return (1, self.length)

    @property
    def uniforms(self) -> tuple[str, ...]:
        return ("gain",)

    @property
    def name(self) -> str:
        return f"ramps-{self.length}"

    @property
    def decoder(self) -> str:
        return "1"

    @property
    def prepared(self) -> str:
        return "real lines as they are"

    def decode(self, data: bytes, out: np.ndarray) -> None:
        if len(data) != out.nbytes:
            raise DataError(f"not {len(out)} numbers")
        out[...] = np.frombuffer(data, "<i2")

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        x = rows.to(dtype)[:, None] / 32767
        return x * (0.5 + 0.5 * uniforms["gain"].to(dtype))[:, None, None] if "gain" in uniforms else x

    def from_network(self, x: Tensor) -> Tensor:
        return (x[:, 0].float() * 32767).round().clamp(-32768, 32767).to(torch.int16)

    def coarse(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool1d(x, 8).flatten(1)

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        return Preview(png_of((rows[:, :, None] // 256 + 128).astype(np.uint8)), ".png")

    def encode(self, row: np.ndarray) -> bytes:
        return row.astype("<i2").tobytes()


class LinesOptions(Options):
    """Options of the pair that are its own."""

    hidden: int = 32
    """Units in the hidden layer of either network."""


def hidden(shape: Shape) -> int:
    assert isinstance(shape.options, LinesOptions)
    return shape.options.hidden


class Generator(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.sample = shape.sample
        self.embed = nn.Embedding(shape.classes, shape.z_dim)
        self.layers = nn.Sequential(
            nn.Linear(2 * shape.z_dim, hidden(shape)), nn.ReLU(), nn.Linear(hidden(shape), shape.sample[-1]), nn.Tanh()
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        made: Tensor = self.layers(torch.cat([z, self.embed(y)], dim=1))
        return made.view(-1, *self.sample)


class Team(nn.Module):
    """Two critics: of stretches of a line, and of the whole."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stretches = nn.Sequential(nn.Conv1d(1, 8, 8, 4), nn.LeakyReLU(0.2), nn.Conv1d(8, 1, 3))
        self.whole = nn.Sequential(
            nn.Linear(shape.sample[-1], hidden(shape)), nn.LeakyReLU(0.2), nn.Linear(hidden(shape), shape.classes)
        )

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return [self.stretches(x), self.whole(x.flatten(1)).gather(1, y[:, None])[:, 0]]


MEDIA["ramps"] = Ramps
NETWORKS["lines"] = Pair(Generator, Team, conditions=("class",), medium="ramps", options=LinesOptions)
