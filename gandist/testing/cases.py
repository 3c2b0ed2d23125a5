"""The small networks of a pair that are checked: one for each condition and normalisation that the pair declares."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gandist.gan.networks import Pair, Shape
from gandist.gan.networks.norms import has_batch_norm
from gandist.gan.penalties import uniforms_of
from gandist.gan.scores import as_scores

BATCH = 8
CLASSES = 4
TEXT_DIM = 7
SOUND = 1, 1024
"""Channels and samples of the sounds that pairs for `audio` are built for."""
CLIP = 3, 4, 32, 32
"""Channels, frames, height and width of the clips that pairs for `video` are built for."""
TEXT = 5, 8
"""Symbols and places of the texts that pairs for `text` are built for."""
MEL = 10, 4
"""Bands and frames of their mel spectrograms."""


class Case(NamedTuple):
    """A pair and the options it is built with."""

    pair: Pair
    shape: Shape
    """Shape of G; D has the same shape with `norm_D`."""
    norm_D: str

    def build(self, dtype: torch.dtype = torch.float32, moved: bool = True) -> tuple[nn.Module, nn.Module]:
        """(G, D), always the same. `moved` perturbs the initial weights, since zeros would hide the layers after
        them."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            nets = self.pair.generator(self.shape), self.pair.discriminator(self.shape._replace(norm=self.norm_D))
            for net in nets:
                for p in net.parameters() if moved else ():
                    p.data += 0.1 * (float(p.detach().std(correction=0)) or 1.0) * torch.randn_like(p)
        return nets[0].to(dtype), nets[1].to(dtype)

    def inputs(self, dtype: torch.dtype = torch.float32, n: int = BATCH) -> tuple[Tensor, Tensor | None, Tensor]:
        """z (n, latents), conditions y, and samples x: in [-1, 1], such as images (n, C, H, W), or texts in shares."""
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(n, self.pair.latents(self.shape), generator=generator).to(dtype)
        x = torch.rand(n, *self.sample, generator=generator).to(dtype) * 2 - 1
        x = (2 * x).softmax(1) if self.pair.medium == "text" else x
        if self.shape.classes:
            return z, torch.arange(n) % self.shape.classes, x
        if self.shape.text_dim:
            captions = torch.randn(n, self.shape.text_dim, generator=generator)
            return z, nn.functional.normalize(captions, dim=1).to(dtype), x
        if self.shape.y:
            return z, self._given(n, self.shape.y[1:], generator).to(dtype), x
        return z, None, x

    def numbers(self, D: nn.Module, x: Tensor) -> Tensor | None:
        """The numbers in [0, 1) that a random D takes for x, (N, uniforms); None for another D."""
        generator, count = torch.Generator().manual_seed(5), uniforms_of(D)
        return torch.rand(len(x), count, generator=generator).to(x.dtype) if count else None

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of a sample without N."""
        return self.shape.sample or (self.shape.channels, *[self.shape.resolution] * 2)

    def _given(self, n: int, sides: Sequence[int], generator: torch.Generator) -> Tensor:
        """Samples (n, Cy, *sides); if they are masked, a third of the pixels are holes, in which they are 0."""
        y = torch.rand(n, self.shape.y[0], *sides, generator=generator) * 2 - 1
        if self.shape.masked:
            y[:, -1] = (y[:, -1] > 1 / 3).float()
            y[:, :-1] *= 1 - y[:, -1:]
        return y

    def larger(self, times: int) -> tuple[Tensor, Tensor]:
        """z and conditions y for two samples, `times` multiples of the pair wide, and images `times` + 1 high."""
        unit = self.pair.multiple(self.shape)
        sides = [(times + 1) * unit] * (len(self.shape.y) - 2) + [times * unit]
        return self.inputs(n=2)[0], self._given(2, sides, torch.Generator().manual_seed(4))

    def results(self, D: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
        """The output of D on samples: all scores of each (N, any), or an encoder's moments side by side (N, 2 z_dim).
        A random D is given its numbers."""
        u = self.numbers(D, x)
        found = as_scores(D(x, y) if u is None else D(x, y, u))
        return torch.cat([each.reshape(len(x), -1) for each in found], dim=1)

    def has_slopes(self) -> bool:
        """Whether penalties may use |grad_x D|^2 by forward mode: not for encoders, nor for a D with BatchNorm."""
        return not self.pair.encodes and not has_batch_norm(self.build()[1])


def cases(pair: Pair, shape: Shape | None = None) -> Iterator[Case]:
    """The small pair with each condition and each normalisation at least once; or only the one for `shape`.

    Args:
        shape: the shape of G and D; the normalisation of D is the pair's first.
    """
    if shape is not None:
        yield Case(pair, shape, pair.norms_D[0])
        return
    resolution = pair.resolutions[0]
    stage_1 = resolution // 2 if pair.second_stage else 0
    small = Shape(resolution, channels=3, z_dim=6, width=8, norm=pair.norms_G[0], stage_1_resolution=stage_1)
    if pair.medium == "audio":
        small = small._replace(sample=SOUND, width=4)
    if pair.medium == "video":
        small = small._replace(sample=CLIP, width=4)
    if pair.medium == "text":
        small = small._replace(sample=TEXT)
    for condition in pair.conditions:
        for conditioned in _conditioned(pair, small, condition):
            yield Case(pair, conditioned, pair.norms_D[0])
    for norm_G, norm_D in zip_longest(pair.norms_G, pair.norms_D):
        norms = norm_G or pair.norms_G[0], norm_D or pair.norms_D[0]
        if norms != (pair.norms_G[0], pair.norms_D[0]):
            yield Case(pair, conditioned._replace(norm=norms[0]), norms[1])


def _conditioned(pair: Pair, small: Shape, condition: str) -> Iterator[Shape]:
    """The small shape with the condition: of images the largest and the smallest, and one with a hole and no noise; of
    sounds with and without noise."""
    if condition == "sample" and pair.medium == "audio":
        yield small._replace(y=MEL)
        yield small._replace(y=MEL, z_dim=0)
        return
    if condition == "sample":
        for times in sorted({pair.scales[0], pair.scales[-1]}, reverse=True):
            yield small._replace(y=(small.channels, *[small.resolution // times] * 2))
        yield small._replace(y=(small.channels + 1, *[small.resolution] * 2), masked=True, z_dim=0)
        return
    classes, text_dim = (CLASSES if condition == "class" else 0), (TEXT_DIM if condition == "text" else 0)
    yield small._replace(classes=classes, text_dim=text_dim)
