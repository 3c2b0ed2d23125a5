"""The encoder or the decoder of an autoencoder, exported without the other: pictures to codes, or codes to pictures.

Codes are those that `python -m gandist.apply --encode` writes and `--decode` reads.
"""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from gandist.config.sample import shapes
from gandist.errors import ConfigError
from gandist.export.model import (
    BATCH,
    CODE_SIDES,
    CODES,
    SIDES,
    TOLERANCE,
    Input,
    Model,
    difference,
    tolerance_of,
    two_sizes,
)
from gandist.gan.networks.autoencoder import Autoencoder, AutoencoderOptions, Quantised
from gandist.gan.networks.shape import options_of
from gandist.media.medium import Medium
from gandist.run.trained import Trained

Part = Literal["encoder", "decoder"]
OTHER: dict[Part, Part] = {"encoder": "decoder", "decoder": "encoder"}


class Encoder(nn.Module):
    """Pictures (N, C, H, W) -> the means of their codes (N, c, h, w), or numbers (N, h, w) int64 of a codebook."""

    def __init__(self, G: Autoencoder) -> None:
        super().__init__()
        self.G = G

    def forward(self, *given: Tensor) -> Tensor:
        (pictures,) = given
        return self.G.numbers(pictures) if isinstance(self.G, Quantised) else self.G.encode(pictures)

    @torch.no_grad()
    def farther(self, given: tuple[Tensor, ...], expected: Tensor, found: Tensor) -> float:
        """How much farther from what the encoder gives the codes numbered `found` lie than those `expected`, at most:
        of two codes equally near, a file may choose the other."""
        assert isinstance(self.G, Quantised)
        encoded = self.G.encoder(*given)
        far, near = (torch.linalg.vector_norm(encoded - self.G.codes_of(each), dim=1) for each in (found, expected))
        return float((far - near).max())


class Decoder(nn.Module):
    """The codes that an encoder gives -> pictures (N, C, H, W)."""

    def __init__(self, G: Autoencoder, medium: Medium | None) -> None:
        """`medium`: turns pictures into rows."""
        super().__init__()
        self.G, self.medium = G, medium

    def forward(self, *given: Tensor) -> Tensor:
        (codes,) = given
        pictures = self.G.decode(self.G.codes_of(codes) if isinstance(self.G, Quantised) else codes)
        return pictures if self.medium is None else self.medium.from_network(pictures)


def autoencoder_of(trained: Trained, run: str, part: Part) -> Autoencoder:
    """The run's autoencoder without its other part, on the CPU.

    Raises:
        ConfigError: the run is of another kind.
    """
    name, kind = trained.config.model.name, trained.config.condition.kind
    if not isinstance(trained.G, Autoencoder) or kind != "itself":
        raise ConfigError(
            f"--part {part}: {run} has none (model.name={name}, condition.kind={kind}): it is of runs with "
            "model.name=autoencoder and condition.kind=itself; leave it out to export the whole generator"
        )
    found = copy.deepcopy(trained.G).cpu()
    setattr(found, OTHER[part], nn.Identity())
    return found


def part_of(trained: Trained, G: Autoencoder, part: Part, integers: bool = False) -> Model:
    """An encoder or a decoder as it is exported.

    Args:
        G: of `autoencoder_of`.
        integers: the decoder gives pixels as files hold them.

    Raises:
        ConfigError: `integers` is given with an encoder.
    """
    shape, name = shapes(trained.config)[0], f"{trained.config.model.name}'s {part}"
    options = options_of(shape, AutoencoderOptions)
    if part == "encoder":
        if integers:
            raise ConfigError("--integers: is of samples, and an encoder gives codes; leave it out")
        encoder = Encoder(G).eval().requires_grad_(False)
        pictures = Input("pictures", "pictures", (BATCH, shape.y[0], *SIDES))
        sizes = two_sizes(shape.y[1:], options.factor)
        apart = encoder.farther if isinstance(G, Quantised) else difference
        return Model(name, encoder, (pictures,), CODES, sizes, options.factor, apart=apart)
    medium = trained.medium
    decoder = Decoder(G, medium if integers else None).eval().requires_grad_(False)
    if isinstance(G, Quantised):
        codes = Input(CODES, CODES, (BATCH, *CODE_SIDES), options.codes)
    else:
        codes = Input(CODES, CODES, (BATCH, options.code_channels, *CODE_SIDES))
    sizes = two_sizes(tuple(side // options.factor for side in shape.y[1:]), 1)
    return Model(name, decoder, (codes,), medium.nouns[1], sizes, 1, tolerance_of(medium) if integers else TOLERANCE)
