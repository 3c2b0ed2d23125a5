"""Convolutional autoencoders trained with a critic, which make the codes of latent diffusion and of token models.

VQGAN (Esser et al. 2021, arXiv:2012.09841, sec. 3.1 and appendix A) has the bottleneck `vq`, the KL autoencoder of
latent diffusion (Rombach et al. 2022, arXiv:2112.10752, sec. 3.1 and appendix G) the bottleneck `kl`. Encoder and
decoder are alike: residual blocks (GroupNorm, swish, 3x3 convolution, twice) at each resolution; between these, 3x3
convolutions of stride 2, or nearest-neighbour upsampling and a 3x3 convolution; two more blocks at the lowest, with
attention between them by option. The decoder has one block more at each resolution. The images are around [-1, 1], but
not bounded. At 256 pixels VQGAN has factor 16, width 128, multiples 1, 1, 2, 2, 4, two blocks, attention `lowest`, and
1024 codes of 256 channels: 72.0 M parameters. Latent diffusion has factor 8, multiples 1, 2, 4, 4, attention `middle`
and 4 Gaussian channels: 83.7 M. Both have another 1x1 convolution on each side of the bottleneck, which is left out.

Nothing random happens inside: the noise of a Gaussian code is z.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.from_image import factor
from gandist.gan.networks.image_d import ImageOptions
from gandist.gan.networks.norms import at_least_float32, layout, norm
from gandist.gan.networks.shape import Shape, options_of
from gandist.gan.networks.vae import kl

INITIAL_CODES = 0.3
"""Standard deviation of new codes: about that of what a new encoder gives, so that most codes are in use from the
start. Wider or narrower, two thirds of 64 codes were not after a hundred steps on garments."""
LOG_VAR = (-30.0, 20.0)
"""Bounds of the log variance of a Gaussian code."""


class AutoencoderOptions(ImageOptions):
    """Options of the pair."""

    factor: Literal[2, 4, 8, 16] = 4
    """How many times lower and narrower than the image its code is."""
    bottleneck: Literal["kl", "vq"] = "kl"
    """What limits the code: `kl`, a Gaussian near N(0, I), by the penalty `kl`; `vq`, the nearest vectors of a
    codebook, learned by the penalty `codebook`."""
    code_channels: int = Field(4, ge=1)
    """Channels of the code."""
    codes: int = Field(64, ge=2)
    """Vectors in the codebook of `vq`; 1024 in VQGAN."""
    commitment: float = Field(0.25, ge=0)
    """Weight in the penalty `codebook` with which the encoder stays near the codes (beta, arXiv:1711.00937, eq. 3)."""
    multiples: tuple[int, ...] = ()
    """Channels of each resolution, the images' first, in units of model.width; () for 1, 2, 4, 4, ..."""
    blocks: int = Field(1, ge=1)
    """Residual blocks at each resolution of the encoder; the decoder has one more."""
    attention: Literal["none", "middle", "lowest"] = "none"
    """Where positions of the lowest resolution attend to each other: once in each network, in its middle (latent
    diffusion), or after each residual block of that resolution too (VQGAN)."""
    sees_y: bool = False
    """Whether D sees y beside x; not in an autoencoder, whose y is the real image itself."""


def latents(shape: Shape) -> int:
    """Random numbers that G takes for each image: one for each number of a Gaussian code."""
    options = options_of(shape, AutoencoderOptions)
    return options.code_channels * (shape.resolution // options.factor) ** 2 if options.bottleneck == "kl" else 0


def multiple(shape: Shape) -> int:
    """G takes y of any height and width that are multiples of this."""
    return options_of(shape, AutoencoderOptions).factor


def _widths(shape: Shape) -> list[int]:
    """Channels of each resolution, the images' first."""
    options = options_of(shape, AutoencoderOptions)
    resolutions = options.factor.bit_length()
    multiples = options.multiples or tuple(min(2**k, 4) for k in range(resolutions))
    if len(multiples) != resolutions or min(multiples) < 1:
        raise ValueError(
            f"options.multiples has {len(multiples)} numbers, and there are {resolutions} resolutions with "
            f"options.factor={options.factor}; set as many, each at least 1"
        )
    return [shape.width * each for each in multiples]


class Block(nn.Module):
    """(N, before, H, W) -> (N, after, H, W): two convolutions and a skip."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            norm("group", before),
            nn.SiLU(),
            nn.Conv2d(before, after, 3, padding=1),
            norm("group", after),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1),
        )
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.skip(x) + self.layers(x)
        return h


class Attention(nn.Module):
    """(N, C, H, W) -> (N, C, H, W): all positions attend to each other (Wang et al. 2018, arXiv:1711.07971), one head.

    Plain products: the backward passes of fused attention add up in no fixed order.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm("group", width)
        self.asked = nn.Conv2d(width, 3 * width, 1)
        self.told = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        query, key, value = self.asked(self.norm(x)).permute(0, 2, 3, 1).reshape(n, -1, 3 * channels).chunk(3, dim=2)
        shares = torch.softmax(query @ key.transpose(1, 2) * channels**-0.5, dim=2)
        found = (shares @ value).reshape(n, height, width, channels).permute(0, 3, 1, 2)
        h: Tensor = x + self.told(found.contiguous(memory_format=layout(x)))
        return h


def _middle(width: int, attention: str) -> list[nn.Module]:
    return [Block(width, width), *([] if attention == "none" else [Attention(width)]), Block(width, width)]


def _ending(width: int, channels: int) -> list[nn.Module]:
    return [norm("group", width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]


def _encoder(shape: Shape, channels: int) -> nn.Sequential:
    """Images (N, Cy, H, W) -> (N, channels, H / factor, W / factor)."""
    options, widths = options_of(shape, AutoencoderOptions), _widths(shape)
    layers: list[nn.Module] = [nn.Conv2d(shape.y[0], widths[0], 3, padding=1)]
    for k, (before, width) in enumerate(pairwise([widths[0], *widths])):
        if k:
            layers.append(nn.Conv2d(before, before, 3, 2, 1))
        for i in range(options.blocks):
            layers.append(Block(width if i else before, width))
            if options.attention == "lowest" and k + 1 == len(widths):
                layers.append(Attention(width))
    return nn.Sequential(*layers, *_middle(widths[-1], options.attention), *_ending(widths[-1], channels))


def _decoder(shape: Shape) -> nn.Sequential:
    """Codes (N, c, h, w) -> images (N, C, factor h, factor w)."""
    options, widths = options_of(shape, AutoencoderOptions), _widths(shape)[::-1]
    layers: list[nn.Module] = [nn.Conv2d(options.code_channels, widths[0], 3, padding=1)]
    layers += _middle(widths[0], options.attention)
    for k, (before, width) in enumerate(pairwise([widths[0], *widths])):
        if k:
            layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(before, before, 3, padding=1)]
        for i in range(options.blocks + 1):
            layers.append(Block(width if i else before, width))
            if options.attention == "lowest" and not k:
                layers.append(Attention(width))
    return nn.Sequential(*layers, *_ending(widths[-1], shape.channels))


class Autoencoder(nn.Module):
    """z: (N, latents), y: (N, Cy, H, W) -> images (N, C, H, W), through a code of few numbers.

    H and W are multiples of `factor`. If y has a mask, the image outside of the hole is y's.
    """

    terms: ClassVar[tuple[str, ...]] = ()
    """Names of the penalties whose values `images_and_terms` gives."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Those without which some weights learn nothing."""

    def __init__(self, shape: Shape, channels: int) -> None:
        """`channels`: of what the encoder gives. Raises ValueError if y has another size than the images."""
        super().__init__()
        if factor(shape) != 1:
            raise ValueError(f"an autoencoder enlarges nothing: y has {shape.y[1]} pixels, not {shape.resolution}")
        self.channels, self.masked = shape.channels, shape.masked
        self.encoder, self.decoder = _encoder(shape, channels), _decoder(shape)

    def encode(self, y: Tensor) -> Tensor:
        """Images (N, Cy, H, W) in [-1, 1] -> their codes (N, c, H / factor, W / factor), which `decode` takes.

        The same images have the same codes: a Gaussian's mean, or vectors of the codebook.
        """
        raise NotImplementedError

    def decode(self, code: Tensor) -> Tensor:
        """Codes (N, c, h, w), of any height and width -> images (N, C, factor h, factor w) around [-1, 1]."""
        images: Tensor = self.decoder(code)
        return images

    def squeezed(self, z: Tensor, h: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the encoder gives (N, channels, h, w) -> codes (N, c, h, w), and the values () of `terms`."""
        raise NotImplementedError

    def images_and_terms(self, z: Tensor, y: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The images of `forward`, and the values () of the penalties `terms`, from one pass."""
        code, terms = self.squeezed(z, self.encoder(y))
        images = self.decode(code)
        if self.masked:
            images = torch.where(y[:, -1:] > 0.5, images, y[:, : self.channels])
        return images, terms

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.images_and_terms(z, y)[0]

    def last_layer(self) -> Tensor:
        """The weights of the decoder's last convolution, by which `game.adaptive` compares gradients."""
        convolution = self.decoder[-1]
        assert isinstance(convolution, nn.Conv2d)
        return convolution.weight


class Gaussian(Autoencoder):
    """Each number of the code is from N(mean, variance), which the encoder gives; z is the noise: 0 for the mean."""

    terms = ("kl",)

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, 2 * options_of(shape, AutoencoderOptions).code_channels)

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, Cy, H, W) -> (mean, log variance) of their codes, each (N, c, H / factor, W / factor)."""
        return self._moments(self.encoder(y))

    def encode(self, y: Tensor) -> Tensor:
        return self.moments(y)[0]

    def squeezed(self, z: Tensor, h: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        mean, log_var = self._moments(h)
        divergence = kl(mean.flatten(1), log_var.flatten(1)).mean()
        code = mean + (0.5 * log_var).exp() * self._noise(z, mean)
        return code.to(h.dtype), {"kl": divergence}

    def _moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = at_least_float32(h).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR)

    def _noise(self, z: Tensor, mean: Tensor) -> Tensor:
        """z (N, latents) in the shape of the code. For larger images than those of training, it is repeated."""
        needed = mean[0].numel()
        if z.shape[1] < needed:
            z = z.repeat(1, -(-needed // z.shape[1]))
        return z[:, :needed].reshape(mean.shape).to(mean.dtype).contiguous(memory_format=layout(mean))


class Codebook(nn.Module):
    """The vectors of a code, (codes, c), and which of them is the nearest."""

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(INITIAL_CODES * torch.randn(codes, channels))

    @torch.no_grad()
    def nearest(self, h: Tensor) -> Tensor:
        """(N, c, h, w) -> numbers (N, h, w) int64 of the nearest vectors, by one product in float32 or wider."""
        with torch.autocast(h.device.type, enabled=False):
            positions = at_least_float32(h).permute(0, 2, 3, 1)
            # |h - e|^2 without |h|^2, which all have in common
            return (self.vectors.square().sum(1) - 2 * positions @ self.vectors.T).argmin(3)

    def chosen(self, numbers: Tensor) -> Tensor:
        """Numbers (N, h, w) -> their vectors (N, c, h, w); by a product, whose gradient adds up in a fixed order."""
        chosen = numbers[..., None] == torch.arange(len(self.vectors), device=numbers.device)  # one-hot
        with torch.autocast(numbers.device.type, enabled=False):
            return (chosen.to(self.vectors.dtype) @ self.vectors).permute(0, 3, 1, 2)


class Quantised(Autoencoder):
    """Each position of the code is the nearest vector of a codebook (van den Oord et al. 2017, arXiv:1711.00937)."""

    terms = needs = ("codebook",)

    def __init__(self, shape: Shape) -> None:
        options = options_of(shape, AutoencoderOptions)
        super().__init__(shape, options.code_channels)
        self.commitment = options.commitment
        self.codebook = Codebook(options.codes, options.code_channels)

    def numbers(self, y: Tensor) -> Tensor:
        """Images (N, Cy, H, W) -> the numbers (N, H / factor, W / factor) int64 of their codes in the codebook."""
        return self.codebook.nearest(self.encoder(y))

    def encode(self, y: Tensor) -> Tensor:
        return self.codes_of(self.numbers(y))

    def codes_of(self, numbers: Tensor) -> Tensor:
        """Numbers (N, h, w) of codes, from 0 to `codes` - 1 -> the codes (N, c, h, w), which `decode` takes."""
        return self.codebook.chosen(numbers)

    def code_counts(self, y: Tensor) -> Tensor:
        """Images (N, Cy, H, W) -> how often each code occurs in their codes, (codes,) int64."""
        return torch.bincount(self.numbers(y).flatten(), minlength=len(self.codebook.vectors))

    def squeezed(self, z: Tensor, h: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The value of `codebook` is eq. 3 of the paper without its first term, as a mean over the code."""
        h32 = at_least_float32(h)
        code = self.codes_of(self.codebook.nearest(h.detach())).contiguous(memory_format=layout(h))
        learned = F.mse_loss(code, h32.detach()) + self.commitment * F.mse_loss(h32, code.detach())
        # Straight through: h - h is 0, and has the gradient of h
        return (code.detach() + (h32 - h32.detach())).to(h.dtype), {"codebook": learned}


def generator(shape: Shape) -> Autoencoder:
    """The autoencoder with the bottleneck that the options name.

    Raises:
        ValueError: `options.multiples` does not fit `options.factor`, or y is not of the images' size.
    """
    return (Gaussian if options_of(shape, AutoencoderOptions).bottleneck == "kl" else Quantised)(shape)
