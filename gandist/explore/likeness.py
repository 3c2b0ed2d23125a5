"""How alike samples are, as a loss in the samples: what a projection makes small."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.evaluation.extractors import of_images
from gandist.gan.perceptual import open_features
from gandist.gan.spectra import MelScale, log_mel, magnitudes, scale_for
from gandist.gan.spectral_losses import resolutions
from gandist.media.audio import Audio
from gandist.media.medium import Medium
from gandist.media.text import Text

SCALES = 3
"""Resolutions of pictures, each half of the one before."""
PICTURES, CLIPS = 3, 4
"""Axes of their samples."""
FRAMES = 4
"""Frames of a clip that are seen by the network, evenly spaced."""
LEAST_SHARE = 1e-6
"""Of a symbol, in its logarithm."""


class Likeness(NamedTuple):
    """A loss of samples (N, *network_shape) against one (1, *network_shape): (N,), at least 0 for all but texts."""

    said: str
    """What it compares."""
    loss: Callable[[Tensor, Tensor], Tensor]


def likeness_of(medium: Medium, device: torch.device) -> Likeness:
    """The likeness of a medium's samples: of pictures and of the frames of clips their pixels at several resolutions,
    and the features of EfficientNet, or of the shipped classifier where that is not installed; of sounds spectrograms;
    of texts the symbols' likelihood.

    Raises:
        DataError: the weights of the network cannot be read.
    """
    if isinstance(medium, Audio):
        scale = scale_for(medium.sample_rate, medium.samples)
        return Likeness("log-mel spectrograms and magnitudes", lambda a, b: _of_sounds(a, b, scale))
    if isinstance(medium, Text):
        return Likeness("the likelihood of the symbols", _of_texts)
    axes = len(medium.network_shape)
    if axes not in (PICTURES, CLIPS):
        return Likeness("squared differences", lambda a, b: (a - b).square().flatten(1).mean(1))
    features = open_features(of_images(), device)

    def of_pictures(a: Tensor, b: Tensor) -> Tensor:
        return _of_pixels(a, b) + features.distance(a, b)

    def of_clips(a: Tensor, b: Tensor) -> Tensor:
        at = torch.linspace(0, a.shape[2] - 1, min(FRAMES, a.shape[2]), device=a.device).round().long()
        seen, wanted = (x[:, :, at].transpose(1, 2).flatten(0, 1) for x in (a, b.expand_as(a)))
        return _of_pixels(a, b) + features.distance(seen, wanted).view(len(a), -1).mean(1)

    said = f"pixels at {SCALES} resolutions and features of {features.name}"
    return Likeness(said, of_pictures if axes == PICTURES else of_clips)


def _of_pixels(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared differences, added up over resolutions: (N, C, ..., H, W) -> (N,)."""
    pool = F.avg_pool3d if a.dim() > CLIPS else F.avg_pool2d
    window = (1, 2, 2) if a.dim() > CLIPS else (2, 2)
    losses = []
    for _ in range(SCALES):
        losses.append((a - b).square().flatten(1).mean(1))
        if min(a.shape[-2:]) > 1:
            a, b = pool(a, window), pool(b, window)
    return torch.stack(losses).sum(0)


def _of_sounds(a: Tensor, b: Tensor, scale: MelScale) -> Tensor:
    """Mean absolute differences of log-mel spectrograms, and those of magnitudes at several resolutions as shares of
    the wanted sound's: (N, C, T) -> (N,)."""

    def mean(x: Tensor) -> Tensor:
        return x.abs().reshape(-1, a.shape[1] * x.shape[1] * x.shape[2]).mean(1)

    ours, theirs = a.flatten(0, 1), b.expand_as(a).flatten(0, 1)
    losses = [mean(log_mel(ours, scale) - log_mel(theirs, scale))]
    for frames in resolutions(a.shape[-1]):
        wanted = magnitudes(theirs, frames)
        losses.append(mean(magnitudes(ours, frames) - wanted) / mean(wanted))
    return torch.stack(losses).sum(0)


def _of_texts(a: Tensor, b: Tensor) -> Tensor:
    """Minus the mean log-likelihood of a place's symbol, in nats: shares (N, V, L) -> (N,)."""
    return -(b * a.clamp(min=LEAST_SHARE).log()).sum(1).mean(1)
