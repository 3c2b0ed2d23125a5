"""Network pairs, one paper a module. A pair is a function of the shapes it must fit."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from gandist.networks import dcgan
from gandist.networks.shape import Shape


def _z_dim(shape: Shape) -> int:
    return shape.z_dim


class Pair(NamedTuple):
    """Builders of the two players, and what they can be built to.

    A generator maps (z: (N, latents), y) to images (N, C, H, W) in [-1, 1]; a discriminator maps
    (x: (N, C, H, W), y) to scores (N,): logits, the higher the more real. y is (N,) int64 classes, (N, text_dim)
    float32 caption vectors, or None.
    """

    generator: Callable[[Shape], nn.Module]
    discriminator: Callable[[Shape], nn.Module]
    norms_G: tuple[str, ...] = ("none",)
    """Normalisations that G can have; the first is the paper's."""
    norms_D: tuple[str, ...] = ("none",)
    """Normalisations that D can have; the first is the paper's."""
    resolutions: tuple[int, ...] = (32, 64, 128, 256)
    conditions: tuple[Literal["none", "class", "text"], ...] = ("none", "class")
    """What y may be."""
    latents: Callable[[Shape], int] = _z_dim
    """How many numbers G draws from for an image: z, and what else it samples."""
    minibatch_std: bool = False
    """Whether D can have a minibatch standard deviation."""
    encodes: bool = False
    """Whether D's seat is taken by an encoder (x, y) -> (mean, log variance) of z, as in a VAE."""


NETWORKS: dict[str, Pair] = {
    "dcgan": Pair(
        dcgan.Generator,
        dcgan.Discriminator,
        norms_G=("batch", "sync", "group", "none"),
        norms_D=("batch", "sync", "group", "spectral", "none"),
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
        minibatch_std=True,
    ),
}

__all__ = ["NETWORKS", "Pair", "Shape"]
