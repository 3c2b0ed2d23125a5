"""The discriminator of sounds made from spectrograms: a team of nets, each of which looks at a sound in its own way.

- `mpd`, of periods (HiFi-GAN, Kong et al. 2020, arXiv:2010.05646, section 2.3): for each period p the sound is folded
  to p columns, which convolutions along time never mix. It is mirrored at its end to fill the last row.
- `msd`, of scales (as above; MelGAN, Kumar et al. 2019, arXiv:1910.06711): grouped convolutions of the sound, of its
  average over 2 and over 4 samples. With norm `weight`, the first scale has spectral norm, as published.
- `mrd`, of resolutions (UnivNet, Jang et al. 2021, arXiv:2106.07889, section 2.2): convolutions of its magnitudes.

`width_D` is the number of channels of the first layer of `mpd` and `mrd`, 32 as published; all others follow. LeakyReLU
has slope 0.1, of `mrd` 0.2. Scores have no bias: a relativistic objective would give it no gradient.
"""

from itertools import pairwise
from math import gcd
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, spectral, weight_norm
from gandist.gan.networks.shape import Shape, options_of
from gandist.gan.spectra import Frames, magnitudes
from gandist.options import Options

Natural = Annotated[int, Field(ge=1)]


class SoundOptions(Options):
    """Options of the discriminator."""

    discriminators: tuple[Literal["mpd", "msd", "mrd"], ...] = Field(("mpd", "msd"), min_length=1)
    """What D is made of: nets of periods, of scales, of resolutions (spectrograms)."""
    width_D: int = Field(0, ge=0)
    """Channels of the first layer of `mpd` and `mrd`, 32 as published; 0 for model.width. Others are multiples."""
    periods: tuple[Natural, ...] = Field((2, 3, 5, 7, 11), min_length=1)
    """Periods of `mpd`, in samples."""
    scales_D: int = Field(3, ge=1, le=8)
    """Number of nets of `msd`: of x, of x at half its rate, at a quarter, ..."""
    resolutions_D: tuple[tuple[Natural, Natural, Natural], ...] = Field(
        ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)), min_length=1
    )
    """Resolutions of `mrd`: points of the Fourier transform, samples from frame to frame, samples under the window."""

    @field_validator("discriminators")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len({*names}) < len(names):
            raise ValueError("a name stands twice; give each once")
        return names

    @field_validator("resolutions_D")
    @classmethod
    def _fit(cls, resolutions: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        for n_fft, hop, window in resolutions:
            if not hop <= window <= n_fft:
                raise ValueError(
                    f"{n_fft}, {hop}, {window} are not hop <= window <= n_fft, in the order n_fft, hop, window"
                )
        return resolutions


class Net(nn.Module):
    """Convolutions with LeakyReLU, the last of which scores: (N, C, T) -> scores (N, h, w), and all activations."""

    slope = 0.1

    def __init__(self, layers: list[nn.Conv2d], score: nn.Conv2d) -> None:
        super().__init__()
        self.layers, self.score = nn.ModuleList(layers), score
        for layer in (*layers, score):
            nn.init.kaiming_normal_(layer.weight, self.slope)  # features keep their size; the papers do not say
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def seen(self, x: Tensor) -> Tensor:
        """What the net looks at of sounds (N, C, T): (N, before, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, features = self.seen(x).contiguous(memory_format=torch.channels_last), []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), self.slope)
            features.append(h)
        return at_least_float32(self.score(h).squeeze(1)), features


class PeriodNet(Net):
    """Sounds (N, C, T), folded to (N, C, T / period, period)."""

    def __init__(self, channels: int, width: int, period: int) -> None:
        self.period = period
        widths = [channels, *(width * k for k in (1, 4, 16, 32, 32))]
        layers = [
            nn.Conv2d(before, after, (5, 1), (3 if k < 4 else 1, 1), (2, 0))
            for k, (before, after) in enumerate(pairwise(widths))
        ]
        super().__init__(layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0), bias=False))

    def seen(self, x: Tensor) -> Tensor:
        if missing := -x.shape[2] % self.period:
            x = torch.cat([x, x[:, :, -missing - 1 : -1].flip(2)], dim=2)
        return x.reshape(*x.shape[:2], -1, self.period)


SCALE_LAYERS = (
    (4, 15, 1, 1),
    (4, 41, 2, 4),
    (8, 41, 2, 16),
    (16, 41, 4, 16),
    (32, 41, 4, 16),
    (32, 41, 1, 16),
    (32, 5, 1, 1),
)
"""Channels in widths, kernel, stride and groups."""


class ScaleNet(Net):
    """Sounds (N, C, T), each sample averaged `halvings` times over twice its neighbourhood."""

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        self.halvings, layers, before = halvings, [], channels
        for widths, kernel, stride, groups in SCALE_LAYERS:
            after = widths * width
            layers.append(
                nn.Conv2d(before, after, (1, kernel), (1, stride), (0, kernel // 2), groups=gcd(groups, before, after))
            )
            before = after
        super().__init__(layers, nn.Conv2d(before, 1, (1, 3), padding=(0, 1), bias=False))

    def seen(self, x: Tensor) -> Tensor:
        x = x[:, :, None]
        for _ in range(self.halvings):
            x = F.avg_pool2d(x, (1, 4), (1, 2), (0, 1), count_include_pad=False)
        return x


class ResolutionNet(Net):
    """Sounds (N, C, T), seen as magnitudes (N, C, frequencies, frames)."""

    slope = 0.2

    def __init__(self, channels: int, width: int, frames: Frames) -> None:
        self.frames = frames
        layers = [nn.Conv2d(channels, width, (3, 9), padding=(1, 4))]
        layers += [nn.Conv2d(width, width, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
        layers += [nn.Conv2d(width, width, 3, padding=1)]
        super().__init__(layers, nn.Conv2d(width, 1, 3, padding=1, bias=False))

    def seen(self, x: Tensor) -> Tensor:
        found = magnitudes(x.flatten(0, 1), self.frames)
        return found.view(*x.shape[:2], *found.shape[1:])


class Discriminator(nn.Module):
    """x: (N, C, T) -> scores (N, h, w) of each net, in float32 even under autocast. It does not look at y."""

    sees_y = False

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError if the sounds are too short for the options."""
        super().__init__()
        options, (channels, length) = options_of(shape, SoundOptions), shape.sample
        width = options.width_D or shape.width
        nets: list[Net] = []
        if "mpd" in options.discriminators:
            if length <= max(options.periods):
                raise ValueError(f"model.options.periods: must be below the {length} samples of a sound")
            nets += [PeriodNet(channels, width, period) for period in options.periods]
        if "msd" in options.discriminators:
            nets += [ScaleNet(channels, width, halvings) for halvings in range(options.scales_D)]
            if length >> options.scales_D - 1 < 4:
                raise ValueError(f"model.options.scales_D: too many for sounds of {length} samples")
        if "mrd" in options.discriminators:
            resolutions = [Frames(*each) for each in options.resolutions_D]
            if too_long := [frames.n_fft for frames in resolutions if length <= max(frames.padding)]:
                raise ValueError(
                    f"model.options.resolutions_D: sounds of {length} samples are too short for frames of "
                    f"{too_long[0]}; set n_fft to {length} or less"
                )
            nets += [ResolutionNet(channels, width, frames) for frames in resolutions]
        self.nets = nn.ModuleList(nets)
        for net in nets:
            first = isinstance(net, ScaleNet) and not net.halvings
            norm = "spectral" if first and shape.norm == "weight" else shape.norm
            spectral(net, norm)
            weight_norm(net, norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.scores_and_features(x, y)[0]

    def scores_and_features(self, x: Tensor, y: Tensor | None = None) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """The scores of each net, and the activations after each of its layers but the last: net by net."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for net in self.nets:
            found, of_layers = net(x)
            scores.append(found)
            features += of_layers
        return tuple(scores), features
