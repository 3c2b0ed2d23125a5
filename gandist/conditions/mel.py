"""Mel spectrograms: y is what a vocoder makes a sound of."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gandist.conditions.griffin_lim import sound_of
from gandist.conditions.making import Making
from gandist.errors import ConfigError
from gandist.gan.penalties import Noise
from gandist.gan.spectra import Frames, MelScale, empty_filters, log_mel, mel_edges
from gandist.media.audio import Audio
from gandist.media.medium import Medium

OPTIONS = "condition.options"


class Mel(Making):
    """y is the logarithm of x's mel spectrogram, that of the mean of its channels; the defaults are HiFi-GAN's (Kong et
    al. 2020, arXiv:2010.05646), whose high_hz is 8000."""

    axes: ClassVar[int] = 2

    n_fft: int = Field(1024, ge=16, le=65_536)
    """Points of the Fourier transform."""
    hop: int = Field(256, ge=1)
    """Samples from frame to frame; must divide the length of a sound."""
    window: int | None = Field(None, ge=2)
    """Samples under a frame's Hann window (default: `n_fft`)."""
    mels: int = Field(80, ge=1, le=1024)
    """Bands."""
    low_hz: float = Field(0.0, ge=0)
    """Where the lowest band begins."""
    high_hz: float | None = Field(None, gt=0)
    """Where the highest band ends (default: half the sample rate)."""

    _sample_rate: int = PrivateAttr(0)

    def fitted(self, medium: Medium) -> Self:
        if not isinstance(medium, Audio):
            raise ConfigError("condition.kind: mel needs a sample rate; set data.medium=audio, or another condition")
        fitted = self.model_copy()
        fitted._sample_rate = medium.sample_rate
        fitted._check()
        return fitted

    @property
    def scale(self) -> MelScale:
        """The spectrogram's options, of a maker that is `fitted`."""
        assert self._sample_rate, "a maker that knows no sample rate"
        frames = Frames(self.n_fft, self.hop, self.window or self.n_fft)
        return MelScale(self._sample_rate, frames, self.mels, self.low_hz, self.high_hz or self._sample_rate / 2)

    def _check(self) -> None:
        scale, half = self.scale, self._sample_rate / 2
        if self.hop > self.n_fft:
            raise ConfigError(
                f"{OPTIONS}.hop: {self.hop} leaves gaps between frames of n_fft={self.n_fft}; set at most {self.n_fft}"
            )
        if scale.frames.window > self.n_fft:
            raise ConfigError(f"{OPTIONS}.window: {self.window} exceeds n_fft={self.n_fft}; set at most {self.n_fft}")
        if scale.high_hz > half:
            raise ConfigError(
                f"{OPTIONS}.high_hz: {scale.high_hz:g} Hz is above half the sample rate "
                f"(data.options.sample_rate={self._sample_rate}); set at most {half:g}, or leave it out"
            )
        if self.low_hz >= scale.high_hz:
            raise ConfigError(
                f"{OPTIONS}.low_hz: {self.low_hz:g} Hz is not below high_hz, {scale.high_hz:g} Hz; lower it"
            )
        if empty := empty_filters(scale):
            low, _, high = mel_edges(scale)[empty[0] : empty[0] + 3].tolist()
            most = next((m for m in range(self.mels - 1, 0, -1) if not empty_filters(scale._replace(mels=m))), 1)
            raise ConfigError(
                f"{OPTIONS}.mels: {len(empty)} of {self.mels} bands contain no frequency of n_fft={self.n_fft}: the "
                f"first is band {empty[0]}, from {low:.1f} to {high:.1f} Hz; set mels to at most {most}, or a larger "
                "n_fft"
            )

    def noise(self) -> Mapping[str, Noise]:
        return {}

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """(mels, T // hop), for samples (C, T).

        Raises:
            ConfigError: the sound is no whole number of hops, or too short for a frame.
        """
        length = sample[-1]
        below = length // self.hop * self.hop
        if length % self.hop:
            either = f"{below} or {below + self.hop}" if below else f"{self.hop}"
            raise ConfigError(
                f"{OPTIONS}.hop: {self.hop} does not divide sounds of {length} samples; set data.options.samples to "
                f"{either}, or another hop"
            )
        if length <= max(self.scale.frames.padding):
            raise ConfigError(
                f"{OPTIONS}.n_fft: sounds of {length} samples are too short to be mirrored for frames of {self.n_fft}; "
                f"set n_fft to {length}, or data.options.samples to more"
            )
        return self.mels, length // self.hop

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Sounds (N, C, T) -> (N, mels, T // hop), in float32 or wider."""
        return log_mel(x.mean(1), self.scale)

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        """What can be heard of y without learning, on all channels: a spectrogram is no sound by itself."""
        with torch.no_grad():
            return sound_of(y, self.scale)[:, None].expand(-1, *sample)

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> Mapping[str, Tensor]:
        """The sound of phases that fit y's magnitudes, found by iteration."""
        return {"griffin-lim": self.picture(y, sample)}
