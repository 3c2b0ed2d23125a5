"""The shape that a network pair is built for."""

from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from gandist.options import Options


class Shape(NamedTuple):
    """Shapes and options that both networks of a pair are built from."""

    resolution: int
    """Height and width of the images in pixels."""
    channels: int
    """Colour channels of the images."""
    z_dim: int
    """Dimension of the latent z."""
    width: int
    """Channels at the highest resolution inside the networks."""
    classes: int = 0
    """Classes the pair is conditioned on; 0 for none."""
    norm: str = "batch"
    """Normalisation of the network being built: one of its pair's `norms_G` or `norms_D`."""
    text_dim: int = 0
    """Dimension of the caption vectors the pair is conditioned on; 0 for none."""
    widths: tuple[int, ...] = ()
    """Channels of every level from 4x4 up, for pairs that take them one by one; () to derive them from `width`."""
    minibatch_std: int = 0
    """Images in a group of D's minibatch standard deviation; 0 for none."""
    stage_1_resolution: int = 0
    """Height and width of the first stage's images, which a second stage takes."""
    sample: tuple[int, ...] = ()
    """Shape of a sample without N, as G makes it and D sees it (`Medium.network_shape`)."""
    y: tuple[int, ...] = ()
    """Shape of y without N if the condition is itself a sample, such as a degraded image, (C, H, W), or made of
    one, such as a sound's mel spectrogram, (mels, frames); else ()."""
    masked: bool = False
    """Whether y's last channel is a mask: 1 where G fills in, 0 where it keeps y's image, which comes before it."""
    options: Options | None = None
    """The pair's own options, an instance of `Pair.options`."""

    @property
    def condition_dim(self) -> int:
        """0 for an unconditional pair, else positive."""
        return self.classes or self.text_dim


Kind = TypeVar("Kind", bound=Options)


def options_of(shape: Shape, kind: type[Kind]) -> Kind:
    """The shape's options of the class `kind`; without any, the defaults.

    Raises:
        TypeError: the options are another pair's.
    """
    options = kind() if shape.options is None else shape.options
    if not isinstance(options, kind):
        raise TypeError(f"the options are {type(options).__name__}, not {kind.__name__}")
    return options


def condition(shape: Shape, features: int) -> nn.Module | None:
    """Layer that maps y, (N,) classes or (N, text_dim) caption vectors, to (N, features); None without a condition."""
    if shape.classes:
        return nn.Embedding(shape.classes, features)
    return nn.Linear(shape.text_dim, features, bias=False) if shape.text_dim else None


def projection(embed: nn.Module | None, y: Tensor | None, h: Tensor) -> Tensor | float:
    """<embedding of y, features h> (N,): the term that conditions D (Miyato & Koyama 2018, arXiv:1802.05637, eq. 3)."""
    return 0.0 if embed is None else (embed(y) * h).sum(dim=1)
