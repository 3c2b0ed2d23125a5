"""Spectrograms of sounds, made on the device and differentiable: for conditions, losses, previews and measures.

Frames are cut by `unfold` and transformed by `rfft`, so that gradients are summed in one order on a GPU, too. Windows
and filters are made once for each type and device: in the eager steps that come before a CUDA graph is captured.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """How a sound is cut into frames."""

    n_fft: int = 1024
    """Points of the Fourier transform."""
    hop: int = 256
    """Samples from frame to frame."""
    window: int = 1024
    """Samples under the Hann window, in the middle of a frame; at most `n_fft`."""

    @property
    def bins(self) -> int:
        """Frequencies from 0 to half the sample rate."""
        return self.n_fft // 2 + 1

    @property
    def padding(self) -> tuple[int, int]:
        """Samples by which a sound grows at its start and at its end, so that it has a frame for each whole hop."""
        before = (self.n_fft - self.hop) // 2
        return before, self.n_fft - self.hop - before


class MelScale(NamedTuple):
    """A mel spectrogram's options; HiFi-GAN's for 22,050 Hz are the defaults (Kong et al. 2020, arXiv:2010.05646)."""

    sample_rate: int
    frames: Frames = Frames()
    mels: int = 80
    low_hz: float = 0.0
    high_hz: float = 8000.0


def scale_for(sample_rate: int, samples: int) -> MelScale:
    """The default frames and bands, halved until a frame is no longer than a sound, up to half the sample rate."""
    scale = MelScale(sample_rate)
    while scale.frames.n_fft > max(samples, 2):
        n_fft, hop, window = (number // 2 for number in scale.frames)
        scale = scale._replace(frames=Frames(n_fft, hop, window), mels=scale.mels // 2)
    return scale._replace(high_hz=sample_rate / 2)


FLOOR = 1e-5
"""Magnitude below which a logarithm stays constant."""
POWER = 1e-9
"""Added to squared magnitudes, whose root has an infinite slope at 0."""


def exactly(x: Tensor) -> AbstractContextManager[object]:
    """A context without autocast; the meta device, used to measure networks, has no autocast."""
    known = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else nullcontext()


def magnitudes(x: Tensor, frames: Frames) -> Tensor:
    """Sounds (N, T) -> magnitudes (N, n_fft // 2 + 1, T // hop), in float32 or wider: sqrt(re^2 + im^2 + 1e-9).

    Each frame lies around the middle of its hop; the sound is mirrored at its ends.

    Raises:
        ValueError: the sound is too short to be mirrored.
    """
    with exactly(x):
        spectrum = torch.fft.rfft(_cut(x, frames) * window_of(frames, _wide(x).dtype, x.device))
        found: Tensor = (spectrum.real.square() + spectrum.imag.square() + POWER).sqrt()
        return found.mT


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _cut(x: Tensor, frames: Frames) -> Tensor:
    """Sounds (N, T), mirrored at their ends, in frames (N, T // hop, n_fft)."""
    x, (before, after) = _wide(x), frames.padding
    if x.shape[1] <= after:
        raise ValueError(f"{x.shape[1]} samples are too few for frames of {frames.n_fft}: there must be over {after}")
    mirrored = torch.cat([x[:, 1 : before + 1].flip(1), x, x[:, -after - 1 : -1].flip(1)], dim=1)
    return mirrored.unfold(1, frames.n_fft, frames.hop)


def log_mel(x: Tensor, scale: MelScale) -> Tensor:
    """Sounds (N, T) -> natural logarithms of mel magnitudes (N, mels, T // hop), at least log(FLOOR).

    The filters are applied in float64: TF32 would round what they sum to 10 bits.
    """
    found = magnitudes(x, scale.frames)
    with exactly(x):
        of_mels = mel_filters(scale, torch.float64, x.device) @ found.double()
        return of_mels.to(found.dtype).clamp(min=FLOOR).log()


@cache
@torch.inference_mode(False)
def window_of(frames: Frames, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A frame's periodic Hann window with the zeros around it: (n_fft,)."""
    window = torch.hann_window(frames.window, dtype=torch.float64)
    before = (frames.n_fft - frames.window) // 2
    return torch.nn.functional.pad(window, (before, frames.n_fft - frames.window - before)).to(device, dtype)


@cache
@torch.inference_mode(False)
def mel_filters(scale: MelScale, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Triangles of equal area between frequencies that are equally far apart on Slaney's mel scale: (mels, bins)."""
    return _triangles(scale).to(device, dtype)


def mel_edges(scale: MelScale) -> Tensor:
    """Frequencies (mels + 2,) in Hz: filter k begins at number k, peaks at k + 1 and ends at k + 2."""
    ends = _mel(torch.tensor([scale.low_hz, scale.high_hz], dtype=torch.float64))
    return _hertz(torch.linspace(ends[0].item(), ends[1].item(), scale.mels + 2, dtype=torch.float64))


def empty_filters(scale: MelScale) -> list[int]:
    """The filters that are 0 throughout, for no frequency of the transform lies within."""
    return (_triangles(scale).sum(1) == 0).nonzero()[:, 0].tolist()


def _triangles(scale: MelScale) -> Tensor:
    edges, frames = mel_edges(scale), scale.frames
    bins = torch.arange(frames.bins, dtype=torch.float64) * scale.sample_rate / frames.n_fft
    widths = edges.diff()
    rising = (bins - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - bins) / widths[1:, None]
    return torch.minimum(rising, falling).clamp(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]


LINEAR_HZ, LOG_FROM_HZ = 200 / 3, 1000.0
"""Slaney's scale: a mel every 200/3 Hz up to 1,000 Hz, then 27 mels to each factor of 6.4."""


def _mel(hertz: Tensor) -> Tensor:
    above = LOG_FROM_HZ / LINEAR_HZ + 27 * (hertz.clamp(min=LOG_FROM_HZ) / LOG_FROM_HZ).log() / _LOG_STEP
    return torch.where(hertz < LOG_FROM_HZ, hertz / LINEAR_HZ, above)


def _hertz(mel: Tensor) -> Tensor:
    first = LOG_FROM_HZ / LINEAR_HZ
    return torch.where(mel < first, mel * LINEAR_HZ, LOG_FROM_HZ * ((mel - first) * (_LOG_STEP / 27)).exp())


_LOG_STEP = float(torch.tensor(6.4, dtype=torch.float64).log())
