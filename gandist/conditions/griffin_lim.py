"""Sounds from mel spectrograms without learning: magnitudes, and phases that fit them, found by iteration.

Non-negative least squares by multiplicative updates (Lee & Seung 2000, "Algorithms for non-negative matrix
factorization", NIPS), then fast Griffin-Lim (Perraudin et al. 2013, "A fast Griffin-Lim algorithm", WASPAA).
"""

from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.distributed.randomness import philox
from gandist.gan.spectra import Frames, MelScale, mel_filters, window_of

UPDATES = 32
"""Of the magnitudes."""
ITERATIONS = 32
"""Of the phases."""
MOMENTUM = 0.99
LEAST, TINY = 1e-9, 1e-30
"""Where an update begins, which moves no 0; and what a divisor is at least."""


def sound_of(y: Tensor, scale: MelScale) -> Tensor:
    """Sounds (N, T) in [-1, 1] of log-mel spectrograms (N, mels, T // hop), in float32 or wider.

    Not random: the phases begin at fixed numbers, the same for all sounds.
    """
    with torch.autocast(y.device.type, enabled=False):
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        found = _magnitudes(y.double().exp(), scale).to(y.dtype).mT
        frames, (before, _) = scale.frames, scale.frames.padding
        mirrored = _signal(_phased(found, frames), frames)
        return mirrored[:, before : before + y.shape[2] * frames.hop].clamp(-1, 1)


def _magnitudes(of_mels: Tensor, scale: MelScale) -> Tensor:
    """Magnitudes (N, bins, frames), none below 0, that give nearly those of mels (N, mels, frames), in float64."""
    filters = mel_filters(scale, torch.float64, of_mels.device)
    wanted = filters.mT @ of_mels
    found = (_inverse(scale, of_mels.device) @ of_mels).clamp(min=LEAST)
    for _ in range(UPDATES):
        found = found * (wanted / (filters.mT @ (filters @ found)).clamp(min=TINY))
    return found


def _phased(magnitudes: Tensor, frames: Frames) -> Tensor:
    """A spectrum (N, frames, bins) of these magnitudes that comes near to that of a sound."""
    spectrum = magnitudes * _start(magnitudes.shape[1], frames.bins, magnitudes.dtype, magnitudes.device)
    before = torch.zeros_like(spectrum)
    for _ in range(ITERATIONS):
        consistent = _spectrum(_signal(spectrum, frames), frames)
        spectrum = magnitudes * _unit(consistent + MOMENTUM * (consistent - before))
        before = consistent
    return spectrum


def _unit(z: Tensor) -> Tensor:
    """The phases of z, 1 where z is 0."""
    size = z.abs()
    return torch.where(size > 0, z / size.clamp(min=torch.finfo(size.dtype).tiny), 1.0)


def _spectrum(x: Tensor, frames: Frames) -> Tensor:
    """Sounds (N, L), without padding, to spectra (N, frames, bins)."""
    found: Tensor = torch.fft.rfft(x.unfold(1, frames.n_fft, frames.hop) * window_of(frames, x.dtype, x.device))
    return found


def _signal(spectrum: Tensor, frames: Frames) -> Tensor:
    """The sounds (N, L) whose spectra are nearest to these (N, frames, bins): frames under the window, added up."""
    cut = torch.fft.irfft(spectrum, n=frames.n_fft)
    window = window_of(frames, cut.dtype, cut.device)
    weights = _added(window.square().expand_as(cut[:1]), frames)
    return _added(cut * window, frames) / weights.clamp(min=LEAST)


def _added(cut: Tensor, frames: Frames) -> Tensor:
    """Frames (N, K, n_fft) added up where they lie: (N, (K - 1) hop + n_fft)."""
    length = (cut.shape[1] - 1) * frames.hop + frames.n_fft
    return F.fold(cut.mT, (1, length), (1, frames.n_fft), stride=(1, frames.hop))[:, 0, 0]


@cache
@torch.inference_mode(False)
def _inverse(scale: MelScale, device: torch.device) -> Tensor:
    """The filters' pseudo-inverse (bins, mels): the least-squares magnitudes behind those of mels."""
    found: Tensor = torch.linalg.pinv(mel_filters(scale, torch.float64, torch.device("cpu")))
    return found.to(device)


@lru_cache(maxsize=4)  # as large as the spectrograms
@torch.inference_mode(False)
def _start(length: int, bins: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Random phases (length, bins), complex; a frame has the same ones in spectrograms of any length."""
    turns = philox(0, "griffin-lim").random((length, bins))
    return torch.from_numpy(np.exp(2j * np.pi * turns)).to(device, dtype.to_complex())
