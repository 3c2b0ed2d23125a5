"""Network pairs, one paper a module. A pair is a function of the shapes it must fit."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from gandist.networks import dcgan
from gandist.networks.shape import Shape


class Pair(NamedTuple):
    """Builders of the two players.

    A generator maps (z: (N, z_dim), y: (N,) int64 or None) to images (N, C, H, W) in [-1, 1];
    a discriminator maps (x: (N, C, H, W), y) to scores (N,): logits, the higher the more real.
    """

    generator: Callable[[Shape], nn.Module]
    discriminator: Callable[[Shape], nn.Module]


NETWORKS: dict[str, Pair] = {
    "dcgan": Pair(dcgan.Generator, dcgan.Discriminator),
}

__all__ = ["NETWORKS", "Pair", "Shape"]
