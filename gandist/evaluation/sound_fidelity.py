"""How near sounds are to their targets, sound by sound.

Sounds a and b are (N, C, T) in [-1, 1], as networks have them. Measures give one number for each pair, (N,) float64.
"""

import importlib.util
import warnings

import numpy as np
import torch
from torch import Tensor

from gandist.gan.spectra import FLOOR, MelScale, log_mel, magnitudes, window_of
from gandist.gan.spectral_losses import SILENCE, resolutions

STOI_MIN_S = 0.4
"""Length in seconds of the shortest sound that has an intelligibility: 30 frames, without those that are silent."""


def mel_l1(a: Tensor, b: Tensor, scale: MelScale) -> Tensor:
    """Mean absolute difference (N,) of natural logarithms of mel magnitudes, over channels, bands and frames: 0.1 is
    0.9 dB."""
    ours, theirs = (log_mel(each.flatten(0, 1), scale).double() for each in (a, b))
    return (ours - theirs).abs().mean((1, 2)).view(a.shape[:2]).mean(1)


def stft(a: Tensor, b: Tensor) -> Tensor:
    """Spectral convergence and mean absolute difference of log magnitudes (N,), averaged over three resolutions and
    over channels (Yamamoto et al. 2020, arXiv:1910.11480, eq. 4 to 6). Not symmetric: b is the target."""
    found = []
    for frames in resolutions(b.shape[-1]):
        ours, theirs = (magnitudes(each.flatten(0, 1), frames).double() for each in (a, b))
        power = window_of(frames, theirs.dtype, theirs.device).square().sum()
        quiet = SILENCE * (power * theirs[0].numel()).sqrt()
        error, size = (torch.linalg.vector_norm(each, dim=(1, 2)) for each in (ours - theirs, theirs))
        logarithms = [each.clamp(min=FLOOR).log() for each in (ours, theirs)]
        found.append(error / torch.maximum(size, quiet) + (logarithms[0] - logarithms[1]).abs().mean((1, 2)))
    return torch.stack(found).mean(0).view(a.shape[:2]).mean(1)


def has_stoi(samples: int, sample_rate: int) -> bool:
    """Whether sounds of this length have an intelligibility that can be measured here."""
    return samples >= STOI_MIN_S * sample_rate and importlib.util.find_spec("pystoi") is not None


def stoi(a: Tensor, b: Tensor, sample_rate: int) -> Tensor:
    """Short-time objective intelligibility (M,), at most 1, of the M pairs that have enough frames that are not silent;
    b is the target (Taal et al. 2011, https://doi.org/10.1109/TASL.2011.2114881). Of the mean of the channels, by
    `pystoi`, on the CPU, one after the other. It is made for speech."""
    from pystoi import stoi as of_pair

    ours, theirs = (np.asarray(each.mean(1).double().cpu()) for each in (a, b))
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for mine, target in zip(ours, theirs, strict=True):
            try:
                found.append(float(of_pair(target, mine, sample_rate)))
            except RuntimeWarning:  # of too few frames
                continue
    return torch.tensor(found, dtype=torch.float64)
