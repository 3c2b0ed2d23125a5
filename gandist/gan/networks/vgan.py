"""The VGAN pair (Vondrick, Pirsiavash, Torralba 2016, arXiv:1609.02612): DCGAN in time, height and width.

At 64 pixels, 32 frames and width 64, G is z -> 512 -> 256 -> 128 -> 64 -> C: 2x4x4 features, then 4x4x4 transposed
convolutions of stride 2, with BatchNorm and ReLU, the last with tanh (section 2.1). D is its mirror with
LeakyReLU(0.2). Each doubling of the resolution adds a level. Seen from the clip, frames are halved as often as height
and width, or until they are two or odd; the levels that are left make each frame for itself.

With `streams: two` (section 2.1), G's last features make a foreground f and a mask m = sigmoid(.), and DCGAN's
generator a background b of the same z, one picture for all frames: m f + (1 - m) b. The paper's prior of the mask, its
mean with weight 0.1 (section 2.2), is the penalty `mask`.

The weights begin as He's: at width 64 deviations of 0.01 to 0.1, where the paper has 0.01. Conditioned, G takes an
embedding of y beside z (Mirza & Osindero 2014), and D adds the projection of its features' mean on an embedding of y
(Miyato & Koyama 2018, arXiv:1802.05637).
"""

from collections.abc import Mapping
from itertools import count, pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from gandist.gan.networks import dcgan
from gandist.gan.networks.clip_conv import Doubling, Halving
from gandist.gan.networks.norms import MinibatchStd, at_least_float32, norm, spectral
from gandist.gan.networks.shape import Shape, condition, options_of, projection
from gandist.gan.networks.tape import SILENT, PiecewiseLinear, Tape
from gandist.options import Options

SLOPE = 0.2
FEWEST, MOST = 2, 8
"""Frames of G's first features: halved no further than to the one, refused above the other."""


class VGANOptions(Options):
    """Options of VGAN."""

    streams: Literal["one", "two"] = "one"
    """What G is made of: `one`, clips; `two`, a moving foreground, a mask, and a background that stands still."""


def frames_of(frames: int, halvings: int) -> list[int]:
    """Frames of the features, from G's first to the clip: [2, 4, 8, 16, 32] for 32 frames and 4 halvings."""
    found = [frames]
    for _ in range(halvings):
        last = found[-1]
        found.append(last // 2 if last >= 2 * FEWEST and last % 2 == 0 else last)
    return found[::-1]


def levels(shape: Shape) -> tuple[list[int], list[int]]:
    """Frames of G's features, from the first to the clip, and channels of all but the clip: [2, 4, 8, 16, 32] and
    [512, 256, 128, 64].

    Raises:
        ValueError: the frames cannot be halved to 8 or fewer.
    """
    _, frames, _, width = shape.sample
    halvings = width.bit_length() - 3
    if frames_of(frames, halvings)[0] > MOST:
        near = (frames + step for k in count(1) for step in (-k, k))
        nearest = next(other for other in near if frames_of(other, halvings)[0] <= MOST)
        raise ValueError(
            f"{frames} frames of {width} px are halved {halvings} times or until they are odd, and then more than "
            f"{MOST}; set data.options.frames={nearest}"
        )
    return frames_of(frames, halvings), [shape.width * 2**k for k in reversed(range(halvings))]


def init_he(module: nn.Module) -> None:
    """Features keep their size from layer to layer, and there are no biases (He et al. 2015, arXiv:1502.01852)."""
    if isinstance(module, Doubling):
        nn.init.normal_(module.weight, 0.0, (2 * prod(module.stride) / module.weight[:, 0].numel()) ** 0.5)
    elif isinstance(module, Halving):
        nn.init.kaiming_normal_(module.weight, SLOPE)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
    if isinstance(module, Doubling | Halving | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> clips (N, C, F, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        frames, widths = levels(shape)
        self.first = frames[0], 4, 4
        self.channels, self.two = shape.sample[0], options_of(shape, VGANOptions).streams == "two"
        self.terms = ("mask",) if self.two else ()
        bias = shape.norm not in ("batch", "sync")
        self.embed = condition(shape, shape.z_dim)
        codes = shape.z_dim * (2 if self.embed else 1)
        self.dense = nn.Linear(codes, widths[0] * frames[0] * 16, bias=bias)
        layers = [norm(shape.norm, widths[0]), nn.ReLU(inplace=True)]
        for (before, after), (wide, narrow) in zip(pairwise(frames), pairwise(widths), strict=False):
            layers += [Doubling(wide, narrow, after // before, bias), norm(shape.norm, narrow), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.last = Doubling(widths[-1], self.channels + self.two, frames[-1] // frames[-2], True)
        self.apply(init_he)
        if isinstance(self.embed, nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale, as an embedding's is
        self.background = dcgan.Generator(_of_codes(shape, codes)) if self.two else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self._made(z, y)[0]

    def images_and_terms(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Clips, and with two streams the mean of the mask () as `mask`."""
        clips, mask = self._made(z, y)
        return clips, {} if mask is None else {"mask": at_least_float32(mask).mean()}

    def _made(self, z: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.dense(z).view(z.shape[0], *self.first, -1).permute(0, 4, 1, 2, 3)  # made in channels_last_3d order
        clips = self.last(self.layers(h))
        if self.background is None:
            return torch.tanh(clips), None
        mask = torch.sigmoid(clips[:, self.channels :])
        still = self.background(z)[:, :, None]
        return still + mask * (torch.tanh(clips[:, : self.channels]) - still), mask


def _of_codes(shape: Shape, codes: int) -> Shape:
    """The shape of DCGAN for pictures of so many numbers, in which the condition already is."""
    resolution = shape.sample[-1]
    return shape._replace(
        resolution=resolution, channels=shape.sample[0], z_dim=codes, classes=0, text_dim=0, options=None
    )


class Discriminator(PiecewiseLinear):
    """x: (N, C, F, H, W), y: (N,) or (N, text_dim) -> scores (N,), in float32 even under autocast."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        frames, widths = (each[::-1] for each in levels(shape))
        channels = [shape.sample[0], *widths]
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for k, ((before, after), (narrow, wide)) in enumerate(zip(pairwise(frames), pairwise(channels), strict=True)):
            normed = shape.norm if k else "none"
            bias = normed not in ("batch", "sync")
            self.convolutions.append(Halving(narrow, wide, before // after, bias))
            self.norms.append(norm(normed, wide))
        self.act = nn.LeakyReLU(SLOPE)
        self.deviation = MinibatchStd(shape.minibatch_std) if shape.minibatch_std else None
        self.score = nn.Linear((widths[-1] + bool(shape.minibatch_std)) * frames[-1] * 16, 1, bias=False)
        self.embed = condition(shape, widths[-1])
        self.piecewise_linear = shape.norm in ("none", "spectral") and not shape.minibatch_std
        self.apply(init_he)
        if isinstance(self.embed, nn.Embedding | nn.Linear):
            nn.init.normal_(self.embed.weight, 0.0, 0.1)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None, tape: Tape = SILENT) -> Tensor:
        for convolution, normed in zip(self.convolutions, self.norms, strict=True):
            assert isinstance(convolution, nn.Conv3d)
            if isinstance(normed, nn.Identity):
                x = tape.activated(convolution, self.act, x)
            else:
                x = self.act(normed(convolution(x)))
        return tape.linear(lambda features: self._scores(features, y), x)

    def _scores(self, features: Tensor, y: Tensor | None) -> Tensor:
        spread = features if self.deviation is None else self.deviation(features)
        scores = self.score(spread.permute(0, 2, 3, 4, 1).flatten(1)).squeeze(1)
        return at_least_float32(scores + projection(self.embed, y, features.mean(dim=(2, 3, 4))))
