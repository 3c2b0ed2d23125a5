"""Network pairs, one paper a module, and the table of them. Each pair is built for given shapes of its samples."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from gandist.gan.networks import (
    autoencoder,
    dcgan,
    ffc,
    hifigan,
    image_d,
    mlp,
    mocogan,
    r3gan,
    recurrent,
    resnet,
    sngan,
    sound_d,
    specgan,
    stackgan,
    text_d,
    textgan,
    unet,
    vae,
    vgan,
    wavegan,
)
from gandist.gan.networks.shape import Shape
from gandist.options import Options


def _z_dim(shape: Shape) -> int:
    return shape.z_dim


def _any_size(shape: Shape) -> int:
    return 1


class Pair(NamedTuple):
    """Builders of the two players, and the options that they support.

    A generator maps (z: (N, latents), y) to samples: images (N, C, H, W), black at -1 and white at 1, clips
    (N, C, F, H, W), sounds (N, C, T), or texts (N, V, L), for each place the share of each symbol. A discriminator maps
    (x: like these, y) to scores, higher for real: one tensor (N, ...), or a sequence of tensors; a random one has an
    attribute `uniforms` and maps (x, y, u: (N, uniforms) in [0, 1) or None). y is (N,) int64 classes, (N, text_dim)
    float32 caption vectors, (N, *shape.y) float32 samples, or None.

    Sizes are read as `x.shape[0]`, not as `len(x)`: to be exported for any batch, a network must not make it an int.
    """

    generator: Callable[[Shape], nn.Module]
    discriminator: Callable[[Shape], nn.Module]
    norms_G: tuple[str, ...] = ("none",)
    """Normalisations that G supports; the first is the paper's."""
    norms_D: tuple[str, ...] = ("none",)
    """Normalisations that D supports; the first is the paper's."""
    resolutions: tuple[int, ...] = (32, 64, 128, 256)
    conditions: tuple[Literal["none", "class", "text", "sample"], ...] = ("none", "class")
    """Kinds of condition y that the pair supports."""
    latents: Callable[[Shape], int] = _z_dim
    """Random numbers that G takes for each image: z, and any further noise."""
    parts: Callable[[Shape], dict[str, slice]] | None = None
    """Which of these numbers mean what, by names such as `content` and `motion`; None where they mean all together."""
    levels: bool = False
    """Whether the pair takes the channels of each level, `Shape.widths`."""
    minibatch_std: bool = False
    """Whether D supports a minibatch standard deviation."""
    second_stage: bool = False
    """Whether G builds on the generator of a first-stage run."""
    medium: str = "image"
    """Kind of sample: a name in `gandist.media.kinds.MEDIA`."""
    options: type[Options] = Options
    """Class of the pair's own options; `model.options` holds their values."""
    encodes: bool = False
    """Whether an encoder (x, y) -> (mean, log variance) of z takes D's place, as in a VAE."""
    multiple: Callable[[Shape], int] = _any_size
    """Of a pair conditioned on images: G takes y of any height and width that are multiples of this."""
    scales: tuple[int, ...] = (1,)
    """Of a pair conditioned on images: factors by which G's images may be higher and wider than y."""


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
    "unet": Pair(
        unet.Generator,
        image_d.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        conditions=("sample",),
        options=unet.UNetOptions,
        multiple=unet.multiple,
        scales=(1, 2, 4, 8),
    ),
    "resnet": Pair(
        resnet.Generator,
        image_d.Discriminator,
        norms_G=ALL,
        norms_D=("spectral", *ALL),
        conditions=("sample",),
        options=resnet.ResNetOptions,
        scales=(1, 2, 4, 8),
    ),
    "rrdb": Pair(
        resnet.GeneratorRRDB,
        image_d.Discriminator,
        norms_D=("spectral", *ALL),
        conditions=("sample",),
        options=resnet.RRDBOptions,
        scales=(1, 2, 4, 8),
    ),
    "ffc": Pair(
        ffc.Generator,
        image_d.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        conditions=("sample",),
        options=ffc.FFCOptions,
        multiple=ffc.multiple,
    ),
    "autoencoder": Pair(
        autoencoder.generator,
        image_d.Discriminator,
        norms_G=("group",),
        norms_D=(*ALL, "spectral"),
        conditions=("sample",),
        latents=autoencoder.latents,
        options=autoencoder.AutoencoderOptions,
        multiple=autoencoder.multiple,
    ),
    "wavegan": Pair(
        wavegan.Generator,
        wavegan.Discriminator,
        norms_G=("none", "batch", "sync", "group"),
        norms_D=("none", "spectral"),
        conditions=("none", "class", "text"),
        medium="audio",
        options=wavegan.WaveOptions,
    ),
    "hifigan": Pair(
        hifigan.Generator,
        sound_d.Discriminator,
        norms_G=("weight", "none"),
        norms_D=("weight", "none", "spectral"),
        conditions=("sample",),
        medium="audio",
        options=hifigan.HiFiOptions,
    ),
    "specgan": Pair(
        specgan.Generator,
        specgan.Discriminator,
        norms_G=("none", "batch", "sync", "group"),
        norms_D=("none", "spectral", "group"),
        conditions=("none", "class", "text"),
        medium="audio",
        options=specgan.SpecOptions,
    ),
    "vgan": Pair(
        vgan.Generator,
        vgan.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
        minibatch_std=True,
        medium="video",
        options=vgan.VGANOptions,
    ),
    "mocogan": Pair(
        mocogan.Generator,
        mocogan.Discriminator,
        norms_G=ALL,
        norms_D=(*ALL, "spectral"),
        resolutions=(32, 64, 128),
        conditions=("none", "class", "text"),
        latents=mocogan.latents,
        parts=mocogan.parts,
        minibatch_std=True,
        medium="video",
        options=mocogan.MoCoOptions,
    ),
    "textgan": Pair(
        textgan.Generator,
        textgan.Discriminator,
        norms_G=("none", "batch", "sync", "group"),
        norms_D=("none", "spectral"),
        conditions=("none", "class", "text"),
        medium="text",
        options=textgan.TextOptions,
    ),
    "relgan": Pair(
        recurrent.Generator,
        text_d.Discriminator,
        norms_D=("none", "spectral"),
        conditions=("none", "class", "text"),
        latents=recurrent.latents,
        medium="text",
        options=recurrent.RecurrentOptions,
    ),
}

__all__ = ["NETWORKS", "Pair", "Shape"]
