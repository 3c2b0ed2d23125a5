"""A small classifier of sounds: convolutions along the time of a spectrogram whose bands are a semitone apart.

Frequencies are channels, which no pooling blurs, so that a tone and the next one remain two; mel bands, equally wide
below 1,000 Hz, would make one of them.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from gandist.gan.spectra import Frames, magnitudes

LOW_HZ = 50.0
"""Frequency of the lowest band."""
PER_OCTAVE = 12
"""Bands in an octave."""
QUIET = 3e-4
"""Amplitude, that of a full sine being 1, below which a band counts as silent: 70 dB less."""
FRAME_S = 0.1
"""Seconds under a window, to the next power of two in samples: 10 Hz between frequencies."""
PARTS = 4
"""Parts of a sound in which the last layers see it, one after the other."""
AT_A_TIME = 2**20
"""Samples of a batch transformed at once: spectra take some ten times the memory of the sounds."""


class SoundClassifier(nn.Module):
    """Three convolutions along time with BatchNorm, and one layer of features."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, sample_rate: int, samples: int, classes: int, width: int = 128, features: int = 128) -> None:
        """
        Args:
            sample_rate: samples per second.
            samples: length of the shortest sound that it is shown.
        """
        super().__init__()
        self.sample_rate, self.frames = sample_rate, frames_of(sample_rate, samples)
        bands = len(bands_of(sample_rate))
        self.register_buffer("mean", torch.zeros(bands, 1))
        self.register_buffer("deviation", torch.ones(bands, 1))
        layers: list[nn.Module] = []
        for inside, stride in ((bands, 1), (width, 2), (width, 1)):
            layers += [nn.Conv1d(inside, width, 5, stride, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool1d(PARTS), nn.Flatten()]
        layers += [nn.Linear(PARTS * width, features, bias=False), nn.BatchNorm1d(features), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, classes)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Sounds (N, C, T) in [-1, 1], whose channels are averaged -> decibels / 20 in each band (N, bands, frames)."""
        return loudness(x.mean(1), self.sample_rate, self.frames)

    @torch.no_grad()
    def normalise_by(self, spectrograms: Tensor) -> None:
        """Take mean and deviation of each band, by which all spectrograms are normalised, from these."""
        self.mean.copy_(spectrograms.mean((0, 2))[:, None])
        self.deviation.copy_(spectrograms.std((0, 2)).clamp(min=0.1)[:, None])

    def features(self, x: Tensor) -> Tensor:
        """Sounds (N, C, T) in [-1, 1] -> features of the penultimate layer (N, F)."""
        h: Tensor = self.body((self.spectrogram(x) - self.mean) / self.deviation)
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Sounds (N, C, T) in [-1, 1] -> logits (N, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def frames_of(sample_rate: int, samples: int) -> Frames:
    """Frames of `FRAME_S` or of a short sound's length, eight of them beginning in the time of one."""
    n_fft = 2 ** min(round(math.log2(FRAME_S * sample_rate)), int(math.log2(samples)))
    return Frames(n_fft, n_fft // 8, n_fft)


def loudness(x: Tensor, sample_rate: int, frames: Frames) -> Tensor:
    """Sounds (N, T) -> decibels / 20 in each band (N, bands, T // hop): about 0 for a full sine, -3.5 for silence."""
    filters = band_filters(sample_rate, frames.n_fft, x.device)
    parts = torch.split(x, max(1, AT_A_TIME // x.shape[1]))
    found = torch.cat([filters @ magnitudes(part.float(), frames) for part in parts])
    return (found * (4 / frames.window)).clamp(min=QUIET).log10()


def bands_of(sample_rate: int) -> Tensor:
    """Frequencies in Hz of the bands' middles, up to half the rate, (bands,) float64."""
    octaves = math.log2(sample_rate / 2 / LOW_HZ)
    return LOW_HZ * 2.0 ** (torch.arange(math.ceil(octaves * PER_OCTAVE), dtype=torch.float64) / PER_OCTAVE)


@cache
def band_filters(sample_rate: int, n_fft: int, device: torch.device) -> Tensor:
    """Triangles around the bands' middles, a semitone to either side but at least one bin: (bands, bins), float32."""
    with torch.inference_mode(False):
        middles, bin_hz = bands_of(sample_rate)[:, None], sample_rate / n_fft
        half = (middles * (2 ** (1 / PER_OCTAVE) - 1)).clamp(min=bin_hz)
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * bin_hz
        return (1 - (bins - middles).abs() / half).clamp(min=0).to(device, torch.float32)
