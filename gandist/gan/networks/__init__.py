"""Network pairs, one paper a module. A pair is a function of the shapes it must fit."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from gandist.gan.networks import dcgan, mlp, r3gan, sngan, stackgan, vae
from gandist.gan.networks.shape import Shape
from gandist.options import Options


def _z_dim(shape: Shape) -> int:
    return shape.z_dim


class Pair(NamedTuple):
    """Builders of the two players, and what they can be built to.

    A generator maps (z: (N, latents), y) to images (N, C, H, W), black at -1 and white at 1; a discriminator maps
    (x: (N, C, H, W), y) to scores, the higher the more real: one tensor (N, ...), or a sequence of them. y is (N,)
    int64 classes, (N, text_dim) float32 caption vectors, or None.
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
    levels: bool = False
    """Whether it takes the channels of each level, `Shape.widths`."""
    minibatch_std: bool = False
    """Whether D can have a minibatch standard deviation."""
    second_stage: bool = False
    """Whether G builds on the generator of a first stage's run."""
    medium: str = "image"
    """Of which samples it is: a name in `gandist.media.kinds.MEDIA`."""
    options: type[Options] = Options
    """The class of the options that are its own; `model.options` holds their values."""
    encodes: bool = False
    """Whether D's seat is taken by an encoder (x, y) -> (mean, log variance) of z, as in a VAE."""


ALL = ("batch", "sync", "group", "none")

NETWORKS: dict[str, Pair] = {
    "mlp": Pair(mlp.Generator, mlp.Discriminator, norms_D=("none", "spectral"), resolutions=(32, 64)),
    "dcgan": Pair(
        dcgan.Generator,
        dcgan.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
        minibatch_std=True,
    ),
    "sngan": Pair(
        sngan.Generator,
        sngan.Discriminator,
        norms_G=ALL,
        norms_D=("spectral", "none", "group"),
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
    ),
    "r3gan": Pair(r3gan.Generator, r3gan.Discriminator, levels=True),
    "stackgan-1": Pair(
        stackgan.Generator1,
        stackgan.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        resolutions=(32, 64, 128),
        conditions=("class", "text"),
        latents=stackgan.latents_1,
    ),
    "stackgan-2": Pair(
        stackgan.Generator2,
        stackgan.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        resolutions=(64, 128, 256),
        conditions=("class", "text"),
        latents=stackgan.latents_2,
        second_stage=True,
    ),
    "vae": Pair(
        vae.Generator,
        vae.Encoder,
        norms_G=ALL,
        norms_D=ALL,
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
        encodes=True,
    ),
}

__all__ = ["NETWORKS", "Pair", "Shape"]
