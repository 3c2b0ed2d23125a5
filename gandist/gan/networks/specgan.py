"""A pair whose networks see sounds as spectrograms, after SpecGAN (Donahue, McAuley, Puckette 2019, arXiv:1802.04208).

SpecGAN's game is played on log-magnitude spectrograms, of which Griffin-Lim makes sounds afterwards. Here the spectrum
and its inverse are layers of the networks, so that samples are sounds:

- G draws two pictures (frequencies, frames), as SpecGAN's G one: the logarithms of the magnitudes, and instantaneous
  frequencies (GANSynth, Engel et al. 2019, arXiv:1902.08710, section 2.2), here as what a frequency's phase advances
  more than its own from frame to frame. A least-squares inverse transform (Griffin & Lim 1984) makes the sound.
- D sees the log-magnitudes of a sound, by the same scale: from -1 for silence to 1 for a sine of amplitude 1.

At 16,384 samples, with n_fft 256 and hop 128, pictures have 128 frequencies (without the highest) and 128 frames, as
published. 5x5 convolutions of stride 2 halve both until one is 4: at width 64 G has 1024-512-256-128-64 channels with
ReLU and D their mirror with LeakyReLU(0.2). D's score has no bias, to which no objective of a difference gives a
gradient. Conditioned as WaveGAN's pair is.
"""

from functools import cache
from itertools import pairwise
from math import log

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, norm, spectral
from gandist.gan.networks.shape import Shape, condition, options_of, projection
from gandist.gan.networks.wavegan import init_xavier
from gandist.gan.spectra import Frames, exactly, magnitudes, window_of
from gandist.options import Options

QUIET = 1e-3
"""Share of a full-scale sine that is added to magnitudes: what is much below 60 dB is silence."""
SOFT = -0.55
"""Before tanh, the loudness at which G begins, 45 dB below a full-scale sine: most of a spectrogram is quiet."""
SMALLEST = 4
"""Frequencies or frames of G's first features, whichever are fewer."""


class SpecOptions(Options):
    """Options of the spectrograms."""

    n_fft: int = Field(256, ge=16, le=8192)
    """Points of the Fourier transform, a power of two; half as many frequencies."""
    hop: int = Field(128, ge=4)
    """Samples from frame to frame: a half of `n_fft`, a quarter, an eighth, ..."""

    @model_validator(mode="after")
    def _check(self) -> "SpecOptions":
        if self.n_fft & self.n_fft - 1:
            raise ValueError(f"n_fft: must be a power of two, which {self.n_fft} is not")
        if self.hop & self.hop - 1 or self.hop >= self.n_fft:
            raise ValueError(f"hop: must be a half, a quarter, ... of n_fft={self.n_fft}, which {self.hop} is not")
        return self

    @property
    def frames(self) -> Frames:
        return Frames(self.n_fft, self.hop, self.n_fft)


def levels(shape: Shape) -> tuple[tuple[int, int], list[int]]:
    """Frequencies and frames of G's first features, and the channels of its features: (4, 4), [1024, ..., 64].

    Raises:
        ValueError: the frames cannot be halved as often as the frequencies, or are too few.
    """
    options = options_of(shape, SpecOptions)
    frequencies, (frames, rest) = options.n_fft // 2, divmod(shape.sample[-1], options.hop)
    doublings = (min(frequencies, frames) // SMALLEST).bit_length() - 1
    if doublings < 1 or rest or frames % 2**doublings:
        unit = options.hop * 2 ** max(1, doublings)
        nearest = unit * max(SMALLEST, round(shape.sample[-1] / unit))
        raise ValueError(
            f"specgan halves {frequencies} frequencies and the frames of {options.hop} samples {max(1, doublings)} "
            f"times, but {shape.sample[-1]:,} samples are {shape.sample[-1] / options.hop:g} frames; set "
            f"data.options.samples={nearest}, or another model.options.hop"
        )
    first = frequencies >> doublings, frames >> doublings
    return first, [shape.width * 2**k for k in reversed(range(doublings))]


class Generator(nn.Module):
    """z: (N, z_dim), y: (N,) or (N, text_dim) -> sounds (N, C, T), which may exceed [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.frames, self.channels = options_of(shape, SpecOptions).frames, shape.sample[0]
        self.first, widths = levels(shape)
        bias = shape.norm not in ("batch", "sync")
        self.embed = condition(shape, shape.z_dim)
        inputs = shape.z_dim * (2 if self.embed else 1)
        self.dense = nn.Linear(inputs, self.first[0] * self.first[1] * widths[0], bias=bias)
        layers = [norm(shape.norm, widths[0]), nn.ReLU(inplace=True)]
        for before, after in pairwise(widths):
            layers += [_up(before, after, bias), norm(shape.norm, after), nn.ReLU(inplace=True)]
        pictures = _up(widths[-1], 2 * self.channels, True)
        self.layers = nn.Sequential(*layers, pictures, nn.Tanh())
        self.apply(init_xavier)
        assert pictures.bias is not None
        nn.init.constant_(pictures.bias[: self.channels], SOFT)
        if isinstance(self.embed, nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale, as an embedding's is

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        h = self.dense(z).view(z.shape[0], *self.first, -1).permute(0, 3, 1, 2)  # made in channels_last order
        pictures = at_least_float32(self.layers(h))
        return sound_of(pictures[:, : self.channels], pictures[:, self.channels :], self.frames)


class Discriminator(nn.Module):
    """x: (N, C, T), y: (N,) or (N, text_dim) -> scores (N,), in float32 even under autocast."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.frames = options_of(shape, SpecOptions).frames
        first, widths = levels(shape)
        channels = [shape.sample[0], *reversed(widths)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            normed = norm(shape.norm if layers else "none", after)
            layers += [nn.Conv2d(before, after, 5, 2, 2), normed, nn.LeakyReLU(0.2, inplace=True)]
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(first[0] * first[1] * channels[-1], 1, bias=False)
        self.embed = condition(shape, channels[-1])
        self.apply(init_xavier)
        if isinstance(self.embed, nn.Embedding | nn.Linear):
            nn.init.normal_(self.embed.weight, 0.0, 0.1)
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.features(picture_of(x, self.frames).contiguous(memory_format=torch.channels_last))
        scores = self.score(h.permute(0, 2, 3, 1).flatten(1)).squeeze(1)
        return at_least_float32(scores + projection(self.embed, y, h.sum((2, 3))))


def _up(before: int, after: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1, bias=bias)


def picture_of(x: Tensor, frames: Frames) -> Tensor:
    """Log-magnitudes of sounds (N, C, T), without the highest frequency: (N, C, n_fft / 2, T / hop), in float32."""
    found = magnitudes(x.flatten(0, 1), frames)[:, :-1]
    loud = 1 - 2 * (found * (4 / frames.n_fft) + QUIET).log() / log(QUIET)
    return loud.view(*x.shape[:2], *loud.shape[1:])


def sound_of(loud: Tensor, moved: Tensor, frames: Frames) -> Tensor:
    """The sound (N, C, frames * hop) of log-magnitudes and frequencies (N, C, n_fft / 2, frames), each in [-1, 1].

    `moved` is what the phase of each frequency advances more than at its own frequency, in half turns a frame.
    """
    n_fft, hop = frames.n_fft, frames.hop
    with exactly(loud):
        size = ((1 - loud) * (log(QUIET) / 2)).exp().sub(QUIET) * (n_fft / 4)
        own, sums, window, share = _constants(frames, loud.shape[3], loud.dtype, loud.device)
        # Sums over the frames so far: by a product, for a GPU's cumulative sums have no fixed order
        phase = (moved @ sums) * torch.pi + own
        real, imaginary = (nn.functional.pad(size * wave, (0, 0, 0, 1)) for wave in (phase.cos(), phase.sin()))
        spectrum = torch.complex(real, imaginary)  # padded before, for ONNX pads no complex numbers
        parts = torch.fft.irfft(spectrum.mT, n=n_fft) * window
        # Frames lie a hop apart: their first hops in a row are a sound, their second ones another, a hop later, ...
        rows = [part.flatten(2) for part in parts.split(hop, dim=3)]
        longer = [nn.functional.pad(row, (k * hop, (len(rows) - 1 - k) * hop)) for k, row in enumerate(rows)]
        before, after = frames.padding
        whole = sum(longer[1:], longer[0])
        return whole[:, :, before : whole.shape[2] - after] * share


@cache
@torch.inference_mode(False)
def _constants(
    frames: Frames, count: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The phase of each frequency itself (n_fft / 2, count) in radians; the matrix that sums over the frames so far;
    the window; and the reciprocal of the sum of squared windows over each sample (count * hop,)."""
    n_fft, hop, (before, _) = frames.n_fft, frames.hop, frames.padding
    frequencies, places = (torch.arange(n, device=device) for n in (n_fft // 2, count))
    own = ((frequencies[:, None] * places * hop) % n_fft).double() * (2 * torch.pi / n_fft)
    window = window_of(frames, torch.float64, device)
    total = torch.zeros(n_fft + (count - 1) * hop, dtype=torch.float64, device=device)
    for k in range(count):
        total[k * hop : k * hop + n_fft] += window.square()
    share = 1 / total[before : before + count * hop]
    sums = torch.ones(count, count, device=device).triu()
    return own.to(dtype), sums.to(dtype), window.to(dtype), share.to(dtype)
