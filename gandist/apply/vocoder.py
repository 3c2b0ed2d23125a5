"""The generator of a vocoder's run, applied to sounds and log-mel spectrograms of any length, stretch by stretch.

Stretches overlap by what the spectrogram's frames and the network see, so that the result is that of the whole: a
stretch's own end is no end of the sound, but what it would change lies in the overlap and is left out.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gandist.conditions.mel import Mel
from gandist.conditions.sample import OfSample
from gandist.config.methods import latents_of
from gandist.errors import ConfigError, DataError
from gandist.media.audio import Audio
from gandist.run.trained import Trained

FRAMES = 1024
"""Frames of a stretch, by default, without its overlap."""
MAX_RADIUS = 2048
"""A network that sees further counts as one that sees the whole sound."""


@dataclass(frozen=True)
class Vocoder:
    """G for sounds of any length."""

    G: nn.Module
    z: Tensor
    """(1, latents): the same for all sounds and stretches."""
    medium: Audio
    maker: Mel
    radius: int | None
    """How far from a frame's samples the frames may lie that these depend on; None if the network sees everything."""

    @property
    def hop(self) -> int:
        return self.maker.hop

    @property
    def seen(self) -> int:
        """How far from a sample of the sound the samples may lie that a frame of its spectrogram sees, in frames."""
        return -(-max(self.maker.scale.frames.padding) // self.hop)

    def of_sound(self, blocks: Iterable[np.ndarray], frames: int | None) -> Iterator[np.ndarray]:
        """Copy synthesis: the sound that G makes of a sound's spectrogram, as rows (any, C) int16, as many in all.

        Args:
            blocks: (any, 1) float32 at the run's rate.
            frames: of a stretch; None for the whole at once.
        """
        buffer, first, total, done = np.zeros(0, np.float32), 0, 0, 0
        reach = 0 if self.radius is None else self.radius + self.seen
        stretch = None if self.radius is None else frames
        for block in blocks:
            buffer, total = np.concatenate([buffer, block[:, 0]]), total + len(block)
            while stretch and total > (done + stretch + reach) * self.hop:
                end = (done + stretch + reach) * self.hop
                made = self.given(self.mel(buffer[: end - first]))
                yield self._rows(made, done - first // self.hop, stretch)
                done += stretch
                kept = max(0, done - reach) * self.hop
                buffer, first = buffer[kept - first :], kept
        if total:
            made = self.given(self.mel(buffer))
            yield self._rows(made, done - first // self.hop, made.shape[2])[: total - done * self.hop]

    def of_mel(self, mel: np.ndarray, frames: int | None) -> Iterator[np.ndarray]:
        """The sound of a log-mel spectrogram (mels, n), as rows (any, C) int16, n * hop in all."""
        n, reach = mel.shape[1], self.radius or 0
        stretch = n if frames is None or self.radius is None else frames
        for start in range(0, n, stretch):
            first, last = max(0, start - reach), min(n, start + stretch + reach)
            y = torch.from_numpy(np.array(mel[:, first:last], np.float32))[None]
            yield self._rows(self.given(y), start - first, min(stretch, n - start))

    @torch.no_grad()
    def given(self, y: Tensor) -> Tensor:
        """What G makes of log-mels (1, mels, n): (1, C, n * hop)."""
        made: Tensor = self.G(self.z, y.to(self.z.device))
        return made

    def mel(self, sound: np.ndarray) -> Tensor:
        """(1, mels, n): of a sound (T,), followed by silence up to a whole number of frames, one long enough at
        least."""
        least = max(self.maker.scale.frames.padding) + 1
        length = -(-max(len(sound), least) // self.hop) * self.hop
        x = torch.from_numpy(np.pad(sound, (0, length - len(sound))))
        return self.maker.make(x[None, None].to(self.z.device), {})

    @torch.no_grad()
    def without_learning(self, y: Tensor) -> np.ndarray:
        """Rows (n * hop, C) int16 of what can be heard of log-mels (1, mels, n), by Griffin-Lim."""
        shape = (self.medium.channels, y.shape[2] * self.hop)
        return self._rows(self.maker.picture(y.to(self.z.device), shape), 0, y.shape[2])

    def _rows(self, made: Tensor, first: int, frames: int) -> np.ndarray:
        """Rows of `frames` frames of G's sound (1, C, T), from frame `first` on."""
        part = made[:, :, first * self.hop : (first + frames) * self.hop]
        rows: np.ndarray = self.medium.from_network(part)[0].cpu().numpy()
        return rows


def vocoder_of(trained: Trained, run: str, seed: int) -> Vocoder:
    """The generator of a vocoder's run.

    Raises:
        ConfigError: the run is of another kind.
    """
    medium, condition = trained.medium, trained.condition
    if not isinstance(condition, OfSample) or not isinstance(condition.maker, Mel) or not isinstance(medium, Audio):
        raise ConfigError(
            f"{run}: its generator takes no spectrograms (condition.kind=mel); use python -m gandist.sample"
        )
    z = trained.latents(1, seed)
    mels, length = condition.maker.mels, medium.samples // condition.maker.hop
    return Vocoder(trained.G, z, medium, condition.maker, _radius(trained, mels, length))


@torch.no_grad()
def _radius(trained: Trained, mels: int, length: int) -> int | None:
    """The reach of one frame: NaN spreads to whatever depends on it, whatever the weights are.

    Args:
        length: frames of the sounds that G was trained on.
    """
    z, frames = torch.zeros(1, latents_of(trained.config), device=trained.device), max(16, length)
    while True:
        y = torch.zeros(1, mels, frames, device=trained.device)
        y[:, :, frames // 2] = torch.nan
        made: Tensor = trained.G(z, y)
        seen = made.isnan().any(1)[0].view(frames, -1).any(1).nonzero()[:, 0]
        first, last = int(seen.min()), int(seen.max())
        if first > 0 and last < frames - 1:
            return max(frames // 2 - first, last - frames // 2)
        if frames > 2 * MAX_RADIUS:
            return None
        frames *= 2


def mel_of(path: Path, mels: int) -> np.ndarray:
    """A log-mel spectrogram (mels, n) of floating-point numbers, which is read as it is used.

    Raises:
        DataError: the file holds none, or of another number of bands.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of damaged files numpy raises any exception
        raise DataError(f"cannot be read as a .npy file: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.ndim != 2 or not found.size:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        raise DataError(f"is {what}, and the run takes log-mel spectrograms (mels, frames) in floating point")
    if len(found) != mels:
        hint = "; turn it: (mels, frames)" if found.shape[1] == mels else "; make it with the run's condition.options"
        raise DataError(f"has {len(found)} bands, and the run takes {mels}{hint}")
    for first in range(0, found.shape[1], FRAMES):
        if not np.isfinite(found[:, first : first + FRAMES]).all():
            raise DataError(f"holds values that are no numbers, from frame {first} on; mend it")
    return found


def real_time(seconds_of_sound: float, seconds: float) -> str:
    """How long the work took beside the sound, in words."""
    factor = seconds / seconds_of_sound if seconds_of_sound else math.nan
    return f"{seconds_of_sound:.1f} s of sound in {seconds:.1f} s, a real-time factor of {factor:.3g}"
