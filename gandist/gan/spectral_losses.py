"""Distances of sounds by their spectrograms, for penalties. Each channel of a sound (N, C, T) is compared by itself.

Sums are of one sample, then means over samples, so that any split of a batch gives the same mean.
"""

import torch
from torch import Tensor

from gandist.gan.spectra import FLOOR, Frames, MelScale, log_mel, magnitudes, window_of

RESOLUTIONS = (Frames(512, 50, 240), Frames(1024, 120, 600), Frames(2048, 240, 1200))
"""Those of Parallel WaveGAN for 24,000 Hz (Yamamoto et al. 2020, arXiv:1910.11480, table 1)."""
SILENCE = 1e-3
"""Root mean square, in sounds from -1 to 1, below which the error of a magnitude is no longer a share of it."""


def mel_distance(fake: Tensor, real: Tensor, scale: MelScale) -> Tensor:
    """Mean absolute difference () of the log-mel spectrograms of sounds (N, C, T), in float32 or wider."""
    return (log_mel(fake.flatten(0, 1), scale) - log_mel(real.flatten(0, 1), scale)).abs().mean()


def stft_distance(fake: Tensor, real: Tensor) -> Tensor:
    """Spectral convergence and mean absolute difference of log magnitudes () of sounds (N, C, T), at `resolutions`."""
    found = [_at(fake.flatten(0, 1), real.flatten(0, 1), frames) for frames in resolutions(real.shape[-1])]
    return torch.stack(found).mean()


def resolutions(samples: int) -> tuple[Frames, ...]:
    """`RESOLUTIONS`, halved until the longest frame fits in a sound of this length."""
    halvings = 0
    while RESOLUTIONS[-1].n_fft >> halvings > samples:
        halvings += 1
    return tuple(Frames(*(max(1, number >> halvings) for number in frames)) for frames in RESOLUTIONS)


def _at(fake: Tensor, real: Tensor, frames: Frames) -> Tensor:
    ours, theirs = magnitudes(fake, frames), magnitudes(real, frames)
    # The magnitude that noise of SILENCE has in each bin, for all bins of a spectrogram
    power = window_of(frames, theirs.dtype, theirs.device).square().sum()
    quiet = SILENCE * (power * theirs[0].numel()).sqrt()
    error, size = (torch.linalg.vector_norm(each, dim=(1, 2)) for each in (ours - theirs, theirs))
    converged: Tensor = (error / torch.maximum(size, quiet)).mean()
    return converged + (_log(ours) - _log(theirs)).abs().mean()


def _log(magnitude: Tensor) -> Tensor:
    return magnitude.clamp(min=FLOOR).log()
